// A Raspberry Pi Pico on your desk: runs a UF2 for its RAM at the chip's own speed, and puts its first
// serial port on the hub's.
//     npm install rp2040js
//     node desk.mjs room.uf2 HUB PORT
// It calls again when the connection ends, as a serial server does; what the chip says meanwhile is lost.
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { RP2040 } from "rp2040js";

const RAM = 0x20000000, RING_OSCILLATOR = 0x40060, CALL_MS = 500;
const SLICE_NS = 1e6; // then it waits for the clock on the wall

const [file, host, port] = process.argv.slice(2);
if (!port) {
  console.error("usage: node desk.mjs FIRMWARE.uf2 HUB PORT");
  process.exit(2);
}

const chip = new RP2040();
const { clock } = chip;
chip.peripherals[RING_OSCILLATOR].readUint32 = () => randomInt(2); // its random bit; the rest is not emulated
const blocks = readFileSync(file);
for (let at = 0; at < blocks.length; at += 512)
  chip.sram.set(blocks.subarray(at + 32, at + 32 + blocks.readUInt32LE(at + 16)), blocks.readUInt32LE(at + 12) - RAM);
chip.core.PC = RAM;

let line = null;
let heard = []; // for the chip
let said = []; // by the chip
let began;

function call() {
  const calling = connect(Number(port), host);
  calling.setNoDelay(true);
  calling.on("connect", () => { line = calling; heard = []; said = []; power(); });
  calling.on("data", bytes => heard.push(...bytes));
  calling.on("error", () => {}); // "close" follows
  calling.on("close", () => { line = null; setTimeout(call, CALL_MS); power(); });
}

function power() { // once it is known whether the hub is there
  if (began !== undefined) return;
  began = performance.now();
  run();
}

function carry() {
  if (line && said.length) line.write(Uint8Array.from(said));
  said = [];
  const { rxFIFO } = chip.uart[0];
  while (heard.length && !rxFIFO.full) chip.uart[0].feedByte(heard.shift());
}

function run() {
  for (const until = clock.nanos + SLICE_NS; clock.nanos < until;)
    clock.tick(chip.core.executeInstruction() * 1e9 / chip.clkSys);
  carry();
  const ahead = clock.nanos / 1e6 - (performance.now() - began);
  if (ahead > 1) setTimeout(run, ahead);
  else setImmediate(run);
}

chip.uart[0].onByte = byte => said.push(byte);
call();
