// What a page shows of the others: who is here, who reads or writes what, and what has just been saved.

const { me, statusUrl } = document.body.dataset;
const form = document.querySelector("#document-form");

/** The key of each person who is here, and for each of their pages: { name, document, phase }. */
let people = new Map();

// Who is here, and what they do.

function showPeople() {
  const names = [...people.values()].map((pages) => pages[0].name);
  document.querySelector("#users-counter").textContent = people.size;
  document.querySelector("#online").title = names.join(", ");
  document.querySelector("#faces").replaceChildren(...names.slice(0, 5).map(face));
  document.querySelectorAll("[data-document]").forEach(showStatus);
}

function face(name) {
  const item = document.createElement("li");
  item.textContent = name.replace(/^(.).*?(?: (\S)\S*)?$/su, "$1$2");
  item.style.setProperty("--hue", [...name].reduce((sum, letter) => sum + 31 * letter.codePointAt(0), 0) % 360);
  return item;
}

/** Free, or what others do with the document: that oneself looks at it is no news. */
function showStatus(badge) {
  const others = [...people].filter(([key]) => key !== me).flatMap(([, pages]) => pages);
  const here = others.filter((page) => page.document === badge.dataset.document);
  const writers = here.filter((page) => page.phase === "write");
  const [phase, who] = writers.length ? ["write", writers] : here.length ? ["read", here] : ["free", []];
  const names = [...new Set(who.map((page) => page.name))].join(", ");
  badge.dataset.phase = phase;
  badge.title = names;
  badge.querySelector("b").textContent = phase;
  badge.querySelector("span").textContent = names;
}

// What has been saved.

const SAID = { created: "New document", updated: "Document updated", deleted: "Document deleted" };
const SHOWN_MS = 10_000;
const SHOWN_MOST = 4;

let leaving = false; // this page saves something itself, and is about to turn to another
form?.addEventListener("submit", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });

function announce(notice) {
  if (leaving) return;
  showNotice(notice);
  notify(notice);
  refresh();
}

function showNotice({ action, title, url }) {
  const notice = document.querySelector("#notice").content.firstElementChild.cloneNode(true);
  const link = notice.querySelector("a");
  notice.querySelector("b").textContent = SAID[action];
  link.textContent = title;
  if (action !== "deleted") Object.assign(link, { href: url, target: target() });
  notice.querySelector("button").onclick = () => notice.remove();
  setTimeout(() => notice.remove(), SHOWN_MS);
  const notices = document.querySelector("#notices");
  notices.append(notice);
  if (notices.children.length > SHOWN_MOST) notices.firstElementChild.remove();
}

function notify({ action, document: tag, title, url }) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  try {
    const notification = new Notification(SAID[action], { body: title, tag });
    notification.onclick = () => {
      notification.close();
      window.focus();
      if (action !== "deleted") window.open(url, target());
    };
  } catch {
    // Some phones show notifications only from a service worker; the page has said it already.
  }
}

/** Whoever writes keeps what is not saved yet: the document opens in another tab. */
function target() {
  return form ? "_blank" : "_self";
}

// Permission is asked for when somebody wants it, never by a page that opens. Who dismisses the question keeps the button.

const allow = document.querySelector("#allow-notices");
allow.onclick = async () => {
  await Notification.requestPermission();
  showAllow();
};
function showAllow() {
  allow.hidden = !("Notification" in window) || Notification.permission !== "default";
}
showAllow();

/** Fetch the page again, once more if something was saved since; not once for each of many. */
let refreshing = false;
let stale = false;
async function refresh() {
  stale = true;
  if (refreshing || !document.querySelector("[data-live]")) return;
  refreshing = true;
  try {
    while (stale) {
      stale = false;
      await showAsItIs();
    }
  } finally {
    refreshing = false;
  }
}

/** Show the documents as they are now, where the page shows any. Of one that is gone, the last that was known stays. */
async function showAsItIs() {
  const response = await fetch(location).catch(() => null);
  if (!response?.ok) return;
  const text = await response.text().catch(() => "");
  const page = new DOMParser().parseFromString(text, "text/html");
  const main = page.querySelector("[data-live]");
  if (!main) return;
  const focus = document.activeElement.getAttribute("href");
  document.querySelector("#main").replaceWith(main);
  if (focus) document.querySelector(`#main a[href="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  showPeople();
}

// The connection.

const SAYS = { waiting: "The connection is lost. Trying again …", closed: "You are no longer connected. Load the page again." };
let lost = false;

function showConnection({ state }) {
  lost ||= state === "waiting";
  lost &&= state !== "open";
  document.querySelector("#connection").textContent = SAYS[lost && state === "connecting" ? "waiting" : state] ?? "";
  document.body.dataset.connection = state;
}

// What the server says: everybody who is here, then each change, and what has been saved.

raceway.connect(statusUrl, { status: showConnection }).listen((message) => {
  if (message.notice) return announce(message.notice);
  if (message.people) {
    if (people.size) refresh(); // a list that comes again tells that something has been missed
    people = new Map(Object.entries(message.people));
  }
  if (message.diff) apply(message.diff);
  showPeople();
});

function apply({ joined, changed, left }) {
  for (const [key, pages] of Object.entries({ ...joined, ...changed })) people.set(key, pages);
  for (const key of Object.keys(left)) people.delete(key);
}
