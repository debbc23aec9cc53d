// Two additions to pages that work without them: the reader's own time beside UTC, and an overview that stays current.
"use strict";

const REFRESH_MS = 5000;
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

function addLocalTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title = `${element.dateTime}, here ${LOCAL.format(moment)}`;
  }
}

// A reader who is inside the region, with the keyboard or a selection, is not interrupted.
function isInUse(region) {
  const selection = document.getSelection();
  const hasSelection = selection !== null && !selection.isCollapsed && region.contains(selection.anchorNode);
  return document.hidden || hasSelection || region.contains(document.activeElement);
}

async function refresh(region) {
  if (isInUse(region)) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(region.id);
  if (fresh === null || isInUse(region)) return;
  addLocalTimes(fresh);
  for (const details of region.querySelectorAll("details[open][id]")) {
    fresh.querySelector(`#${details.id}`)?.setAttribute("open", "");
  }
  region.replaceChildren(...fresh.childNodes);
}

addLocalTimes(document);
const region = document.querySelector("[data-refresh]");
if (region !== null) {
  let isBusy = false;
  setInterval(async () => {
    if (isBusy) return;
    isBusy = true;
    try {
      await refresh(region);
    } catch {
      // The server is away: the page keeps what it last knew, and its time says how old that is.
    } finally {
      isBusy = false;
    }
  }, REFRESH_MS);
}
