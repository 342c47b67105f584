#!/usr/bin/env node
// Where the packaged command begins: an older Node would fail at some import or syntax later, with a text that says nothing. So
// this file imports nothing by itself and holds only what every Node can read.
const OLDEST_NODE = 24;

if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) {
  await import('./main.ts');
} else {
  process.stderr.write(`countersign needs Node ${OLDEST_NODE} or newer, this is ${process.version} (${process.execPath})\n`);
  process.exitCode = 1;
}
