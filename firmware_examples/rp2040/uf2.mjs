// Packs a program for the RP2040's RAM as the boot ROM takes it on its drive (github.com/microsoft/uf2):
//     node uf2.mjs room.bin room.uf2
import { readFileSync, writeFileSync } from "node:fs";

const RAM = 0x20000000, PIECE = 256, RP2040 = 0xe48bff56, NAMES_ITS_CHIP = 0x2000;

const [from, to] = process.argv.slice(2);
const program = readFileSync(from);
const count = Math.ceil(program.length / PIECE);
const blocks = Buffer.alloc(512 * count);
for (let i = 0; i < count; i++) {
  const block = blocks.subarray(512 * i, 512 * (i + 1));
  const head = [0x0a324655, 0x9e5d5157, NAMES_ITS_CHIP, RAM + PIECE * i, PIECE, i, count, RP2040];
  head.forEach((word, place) => block.writeUInt32LE(word, 4 * place));
  program.copy(block, 32, PIECE * i, PIECE * (i + 1));
  block.writeUInt32LE(0x0ab16f30, 508);
}
writeFileSync(to, blocks);
