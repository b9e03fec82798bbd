// Brings in what has changed, while the page is open. Everything works without it.
(() => {
  "use strict";
  if (!document.querySelector("[data-live]")) return;
  const address = new URL(location.href);
  address.searchParams.set("live", "1");
  let busy = false;
  let again = false;

  const look = async () => {
    if (busy) { again = true; return; }
    if (document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(address, { credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
      if (answer.ok) bring(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch (error) {
      // The service may be away for a moment; the stream comes again by itself.
    }
    busy = false;
    if (again) { again = false; look(); }
  };

  const bring = (fresh) => {
    for (const old of document.querySelectorAll("[data-live][id]")) {
      const now = fresh.getElementById(old.id);
      if (!now || now.innerHTML === old.innerHTML) continue;
      // Nobody's focus is taken away, and what they opened stays open.
      if (old.contains(document.activeElement) && document.activeElement !== document.body) continue;
      const open = [...old.querySelectorAll("details")].map((it) => it.open);
      old.replaceChildren(...[...now.childNodes].map((node) => document.adoptNode(node)));
      [...old.querySelectorAll("details")].forEach((it, i) => { it.open = Boolean(open[i]); });
    }
  };

  const stream = new EventSource("/live");
  stream.onmessage = look;
  document.addEventListener("visibilitychange", look);
  document.documentElement.dataset.live = "on";
})();
