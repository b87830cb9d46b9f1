// A person's reward: what a button says goes to /v1/reward by the key behind the link's #.
"use strict";

const page = document.querySelector("main");
const status = document.querySelector("[role=status]");
const device = page.dataset.device;
const key = keyOf(location.hash.slice(1));
let noted = ""; // What this page has given last, in words.
let most = null; // What a press gives, either way; null = the hub has not said it yet.

function say(text) {
  status.textContent = text;
}

// null when it is none: cut off, or changed on its way.
function keyOf(fragment) {
  try {
    return /^[a-z2-7]+\.[\w-]+$/.exec(decodeURIComponent(fragment))?.[0] ?? null;
  } catch {
    return null;
  }
}

// What the hub answers; null when it refuses, and says why.
async function ask(path, options = {}) {
  try {
    const headers = { authorization: `Bearer ${key}` };
    const answer = await fetch(path, { ...options, headers });
    const said = await answer.json();
    if (answer.ok) {
      return said;
    }
    if (answer.status === 429) {
      const wait_s = answer.headers.get("retry-after");
      say(`${noted} This press was too soon: the next counts in ${wait_s} s.`.trim());
    } else if (answer.status === 401) {
      say("This link is not accepted any more; ask for another.");
    } else {
      say(said.detail);
    }
  } catch {
    say("The hub can't be reached; nothing was noted.");
  }
  return null;
}

async function begin() {
  const may = await ask(`/reward/${device}/may`);
  most = may && may.most;
  return may !== null;
}

async function reward(sign) {
  if (most === null && !(await begin())) {
    return;
  }
  const body = JSON.stringify({ device, r: sign * most });
  if (await ask("/v1/reward", { method: "POST", body })) {
    noted = `${sign > 0 ? "Good" : "Bad"}: noted as ${sign > 0 ? "+" : "−"}${most}.`;
    say(noted);
  }
}

addEventListener("hashchange", () => location.reload());
if (key === null) {
  say("This link is not whole: there is no key behind its #. Copy all of it, or ask for another.");
} else {
  for (const button of document.querySelectorAll("button")) {
    button.addEventListener("click", () => reward(Number(button.dataset.reward)));
  }
  begin().then((may) => may && say(`Tell it how it does: a press counts as +${most} or −${most}.`));
}
