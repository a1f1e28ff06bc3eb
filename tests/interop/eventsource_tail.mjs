// Follows an event stream with eventsource from npm and prints what it sees, one JSON object a line.
// Its one argument is JSON: packages, url, token, types (event names), resync (whether to follow relay.gone's address).
// It ends when its standard input does, so that it never outlives the test that started it.
import { createRequire } from "node:module";
import { join } from "node:path";

const wish = JSON.parse(process.argv[2]);
const { EventSource } = createRequire(join(wish.packages, "package.json"))("eventsource");

const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");

function follow(url) {
  const source = new EventSource(url, {
    fetch: (input, init) =>
      fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${wish.token}` } }),
  });
  source.addEventListener("error", (error) =>
    print({ error: error.message ?? null, code: error.code ?? null, state: source.readyState }),
  );
  for (const name of wish.types) {
    source.addEventListener(name, (event) => {
      print({ name, data: event.data, id: event.lastEventId });
      // a stream of on_gone=skip goes on behind relay.gone
      if (name === "relay.gone" && wish.resync && !url.toString().includes("on_gone=skip")) {
        source.close();
        follow(new URL(JSON.parse(event.data).resync, url));
      }
    });
  }
}

process.stdin.on("end", () => process.exit(0)).resume();
follow(wish.url);
