// Opens one file in Chromium in several ways and prints what it saw as JSON; what is wrong with it is judged elsewhere.
// Its wish comes as JSON in the first argument: packages, chromium, profile, page, views, screenshots (a folder or null).
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const wish = JSON.parse(process.argv[2]);
const load = createRequire(join(wish.packages, "package.json"));
const { default: puppeteer } = await import(pathToFileURL(load.resolve("puppeteer-core")).href);
const axe = readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");

const browser = await puppeteer.launch({
  executablePath: wish.chromium,
  userDataDir: wish.profile,
  pipe: true, // no port, and the browser ends with us
  args: wish.flags,
});
try {
  const views = [];
  for (const view of wish.views) views.push(await looked(view));
  process.stdout.write(JSON.stringify({ version: await browser.version(), views }));
} finally {
  await browser.close();
}

async function looked(view) {
  const page = await browser.newPage();
  const seen = { view, console: [], errors: [], requests: [] };
  page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.requests.push(request.url()));
  await page.setViewport({ width: view.width, height: view.height });
  // in one call: puppeteer's own two undo each other
  const features = [{ name: "prefers-color-scheme", value: view.scheme }];
  await (await page.createCDPSession()).send("Emulation.setEmulatedMedia", { media: view.media, features });
  await page.goto(wish.page, { waitUntil: "load" });
  const picture = wish.screenshots && join(wish.screenshots, view.name);
  if (picture) {
    await page.screenshot({ path: `${picture}-first.png` });
    await page.screenshot({ path: `${picture}.png`, fullPage: true });
  }
  if (view.media !== "print") {
    await page.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
  }
  Object.assign(seen, await page.evaluate(measured, view.rules.length > 0));
  seen.axe = view.rules.length ? await judgedByAxe(page, view.rules) : [];
  if (picture) await page.screenshot({ path: `${picture}-open.png`, fullPage: true });
  await page.close();
  return seen;
}

// What breaks these of axe-core's rules, or tags of rules, and what it could not decide; pictures are not its field.
async function judgedByAxe(page, rules) {
  await page.evaluate(axe);
  return page.evaluate(async (rules) => {
    // its own settings, but that single figures are text, too
    const CONTRAST = {
      ignoreUnicode: true, ignoreLength: true, ignorePseudo: false, boldValue: 700, boldTextPt: 14, largeTextPt: 18,
      contrastRatio: { normal: { expected: 4.5 }, large: { expected: 3 } }, pseudoSizeThreshold: 0.25, shadowOutlineEmMax: 0.2,
    };
    window.axe.configure({ checks: [{ id: "color-contrast", options: CONTRAST } ] });
    const found = await window.axe.run({ include: ["html"], exclude: ["svg > *"] }, { runOnly: rules, resultTypes: ["violations", "incomplete"] });
    return [...found.violations, ...found.incomplete].flatMap((rule) =>
      rule.nodes.map((node) => `${rule.id}: ${rule.help}: ${node.html.slice(0, 160)}: ${node.failureSummary ?? ""}`),
    );
  }, rules);
}

// Runs in the page: numbers and texts only. Boxes are [left, top, right, bottom] in CSS pixels of the document.
function measured(withColours) {
  const root = document.documentElement;
  const box = (rect) => [
    rect.left + scrollX, rect.top + scrollY, rect.right + scrollX, rect.bottom + scrollY,
  ].map((value) => Math.round(value * 10) / 10);
  const scrolls = (style) => ["auto", "scroll"].includes(style.overflowX);
  const scroller = (element) => {
    for (let at = element; at; at = at.parentElement) if (scrolls(getComputedStyle(at))) return at;
    return null;
  };
  const ways = { print: matchMedia("print").matches };

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const parent = walker.currentNode.parentElement;
    if (!text || parent.closest("svg, style, script") || !parent.checkVisibility({ contentVisibilityAuto: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const rects = [...range.getClientRects()].filter((rect) => rect.width && rect.height);
    if (!rects.length) continue;
    // on paper nothing scrolls
    const isScrolled = !ways.print && scroller(parent) !== null;
    texts.push({ text: text.slice(0, 120), isScrolled, boxes: rects.map(box) });
  }

  const spilling = [];
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    if (element.closest("svg") || ["inline", "contents", "none"].includes(style.display)) continue;
    if (element.scrollWidth <= element.clientWidth + 1 || (scrolls(style) && !ways.print)) continue;
    spilling.push(`<${element.localName} class="${element.className}"> ${element.textContent.trim().slice(0, 80)}`);
  }

  const pictures = [...document.querySelectorAll("svg")].map((svg) => ({
    label: svg.getAttribute("aria-label") ?? "",
    role: svg.getAttribute("role"),
    box: box(svg.getBoundingClientRect()),
    texts: [...svg.querySelectorAll("text")].map((text) => ({ box: box(text.getBoundingClientRect()), ...styleOf(svg, text) })),
  }));
  // only what is in the window can be asked for what is under it, so all boxes are taken before anything scrolls
  document.querySelectorAll("svg").forEach((svg, place) => {
    svg.querySelectorAll("text").forEach((text, index) => (pictures[place].texts[index].under = withColours ? under(text) : null));
  });

  function styleOf(svg, text) {
    const style = getComputedStyle(text);
    const turned = /rotate\((-?[\d.]+)/.exec(text.getAttribute("transform") ?? "");
    return {
      text: text.textContent,
      angle: turned === null ? 0 : Number(turned[1]),
      size_px: parseFloat(style.fontSize) * (svg.getScreenCTM()?.a ?? 1),
      colour: style.fill,
    };
  }

  function under(text) {
    text.scrollIntoView({ block: "center", inline: "center" });
    const rect = text.getBoundingClientRect();
    const layers = document.elementsFromPoint(rect.left + rect.width / 2, rect.top + rect.height / 2);
    return layers.filter((one) => one.localName !== "text").map(paint).filter(Boolean);
  }

  // what an element lays under a text, uppermost first: a shape's filling or a box's background
  function paint(element) {
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement && element.localName !== "svg" ? style.fill : style.backgroundColor;
    if (colour === "none" || colour === "rgba(0, 0, 0, 0)") return null;
    const opacity = element instanceof SVGElement ? Number(style.opacity) * Number(style.fillOpacity) : Number(style.opacity);
    return { colour, opacity };
  }

  return {
    scheme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
    media: ways.print ? "print" : "screen",
    width: root.clientWidth,
    scroll_width: Math.max(root.scrollWidth, document.body.scrollWidth),
    texts,
    spilling,
    pictures,
  };
}
