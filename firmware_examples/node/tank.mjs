// A tank that learns to keep its level: `npm install mqtt; node tank.mjs mqtt://HUB:1883 DEVICE KEY [STEPS]`.
// ws://HUB:8083 will do as well.
import mqtt from "mqtt";

const [url, device, key, steps = "100"] = process.argv.slice(2);
const topic = `rl/v1/${device}`;
const boot = Math.floor(Math.random() * 2 ** 32); // never the same again
const repeatMs = 2000;
let level = 1, step = 0, repeat;

const client = mqtt.connect(url, { username: device, password: key, clientId: device, reconnectPeriod: 1000 });

function observe() {
  const observation = { b: boot, s: step, o: [level], r: -Math.abs(level - 2) };
  client.publish(`${topic}/obs`, JSON.stringify(observation));
  clearTimeout(repeat);
  repeat = setTimeout(observe, repeatMs); // the same step again, until it is answered
}

function end(code, text) {
  clearTimeout(repeat);
  (code ? console.error : console.log)(text);
  client.end(true, () => process.exit(code));
}

client.on("connect", async () => {
  await client.subscribeAsync([`${topic}/act`, `${topic}/err`]);
  observe();
});
client.on("error", (error) => {
  if (typeof error.code === "number") end(1, error.message); // the hub refuses us; else nobody is there yet
});
client.on("message", (from, payload) => {
  if (![`${topic}/act`, `${topic}/err`].includes(from)) return; // what a broker sends by mistake
  const answer = JSON.parse(payload);
  if (["busy", "rate"].includes(answer.e)) return; // it will pass: the step is sent again
  if (from.endsWith("/err")) return end(1, answer.m);
  if (answer.s !== step) return; // of a repeat: it says nothing new
  level = Math.max(0, level + 0.05 * answer.a - 0.04 * Math.sqrt(level));
  step += 1;
  if (step < Number(steps)) observe();
  else end(0, `${step} steps, the level at ${level.toFixed(2)} m`);
});
