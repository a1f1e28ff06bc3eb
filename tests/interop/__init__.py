"""Other people's clients against a real relay: curl, httpx-sse, and eventsource from npm."""
