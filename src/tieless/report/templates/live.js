"use strict";
// The part of the page that changes is fetched again and again, and takes the place of the old one where it differs.
const main = document.getElementById("main");
const told = document.getElementById("told");
const parser = new DOMParser();
let before = "";
const say = (text) => { if (told.textContent !== text) told.textContent = text; };
const update = async () => {
  try {
    const answer = await fetch("part", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (text !== before) {
      const open = new Set([...main.querySelectorAll("details[open]")].map((each) => each.id));
      main.replaceChildren(...parser.parseFromString(text, "text/html").body.childNodes);
      for (const each of main.querySelectorAll("details")) each.open = open.has(each.id);
      before = text;
    }
    const state = main.querySelector("[data-state]");
    say(state ? state.dataset.state : "");
    document.title = state ? state.dataset.title : "tieless study watch";
  } catch {
    say("'tieless study watch' has ended");
  }
  setTimeout(update, 1500);
};
update();
