// What a page cannot do by itself: tell the time zone, show dialogs as such, and keep itself true.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const body = document.body, zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && document.documentElement.dataset.zone !== zone) {
  document.cookie = `zone=${zone}; path=/; SameSite=Strict; max-age=31536000`;
  if (body.dataset.self && document.cookie.includes("zone=")) location.replace(body.dataset.self);
}
for (const dialog of all("dialog[data-modal]")) {
  dialog.close();
  dialog.showModal();
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    location.assign(dialog.querySelector("[data-cancel]").href);
  });
}
for (const form of all("form[method=post]"))  // one press is one change
  form.addEventListener("submit", () => setTimeout(() => all("button", form).forEach((b) => (b.disabled = true))));
for (const length of all(".lengths input"))  // who types one means it
  length.addEventListener("input", () => (document.getElementById("expires-after").checked = true));
window.addEventListener("pageshow", (event) => event.persisted && location.reload());

function swap(old, fresh) {  // keeps what is being done there: focus, ticks, what is unfolded
  if (old.innerHTML === fresh.innerHTML && old.className === fresh.className) return;
  const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
  const ticked = all("input:checked", old).map((each) => each.id);
  const open = all("details", old).map((each) => each.open);
  all("input[type=checkbox]", fresh).forEach((each) => (each.checked = ticked.includes(each.id) && !each.disabled));
  if (open.includes(true)) all("details", fresh).forEach((each, index) => (each.open = open[index] ?? false));
  old.replaceWith(fresh);
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

let busy = false;
async function refresh() {
  if (busy || document.hidden || document.querySelector("details.menu[open]")) return;
  busy = true;
  const late = document.getElementById("late");
  const wait = setTimeout(() => (late.hidden = false), 3000);  // a fail-over takes longer
  try {
    const answer = await fetch(body.dataset.self, { headers: { "X-Live": "1" } });
    if (answer.status === 401) return location.reload();
    if (answer.status === 429) return;  // asked too often: the next look will do
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const lost = page.querySelector("[data-lost]");
    const kind = (root) => root.querySelector("main")?.dataset.page;
    if (!lost && kind(page) !== kind(document)) return location.reload();
    for (const fresh of all("[data-part]", page)) {
      const old = document.getElementById(fresh.id);
      if (old && (!lost || fresh.id === "status")) swap(old, fresh);
    }
    body.classList.toggle("is-lost", Boolean(lost));
    document.getElementById("console-lost").hidden = true;
  } catch {
    document.getElementById("console-lost").hidden = false;
  } finally {
    clearTimeout(wait);
    late.hidden = true;
    busy = false;
  }
}
if (body.dataset.live) {
  const events = new EventSource(body.dataset.live);
  events.onmessage = events.onerror = refresh;
  document.addEventListener("visibilitychange", refresh);
  setInterval(() => events.readyState === EventSource.CLOSED && refresh(), 3000);
}
const search = document.querySelector("form[data-search]");
let typed;
search?.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => {
    body.dataset.self = `/?${new URLSearchParams(new FormData(search))}`;
    history.replaceState(null, "", body.dataset.self);
    refresh();
  }, 250);
});
