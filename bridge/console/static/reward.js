// A person's reward: what a button says goes to /v1/reward by the key behind the link's #.
"use strict";

const page = document.querySelector("main");
const status = document.querySelector("[role=status]");
const key = decodeURIComponent(location.hash.slice(1));

function say(text) {
  status.textContent = text;
}

async function reward(sign) {
  try {
    const answer = await fetch("/v1/reward", {
      method: "POST",
      headers: { authorization: `Bearer ${key}` },
      body: JSON.stringify({ device: page.dataset.device, r: sign }),
    });
    const said = await answer.json();
    if (answer.ok) {
      say(sign > 0 ? "Good: noted." : "Bad: noted.");
    } else if (answer.status === 429) {
      say("Slowly: one a second counts.");
    } else if (answer.status === 401) {
      say("This link is not accepted any more; ask for another.");
    } else {
      say(said.detail);
    }
  } catch {
    say("The hub can't be reached; it was not noted.");
  }
}

for (const button of document.querySelectorAll("button")) {
  button.addEventListener("click", () => reward(Number(button.dataset.reward)));
}
if (!key) {
  say("This link is not whole: its key is missing behind the #.");
}
