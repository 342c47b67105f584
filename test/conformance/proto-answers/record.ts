// Writes `answers.json`: what the SPIRE server named by SPIRE_BIN answers to the probes.
//
//   SPIRE_BIN=<folder with spire-server and spire-agent> node test/conformance/proto-answers/record.ts [TEXTS]
//
// TEXTS, if given, is a file for the error texts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startSpireServer } from '../../support/spire.ts';
import { answersOf } from './answer.ts';

const folder = mkdtempSync(join(tmpdir(), 'countersign-record-'));
const texts: Record<string, readonly string[]> = {};
try {
  await using server = await startSpireServer({ folder, settings: 'experimental { feature_flags = ["wit-svid"] }' });
  const answers = await answersOf({ ...server, folder }, (probe, lines) => (texts[probe] = lines));
  const lines = Object.entries(answers).map(([probe, answer]) => `${JSON.stringify(probe)}: ${JSON.stringify(answer)}`);
  writeFileSync(join(import.meta.dirname, 'answers.json'), `{\n${lines.join(',\n')}\n}\n`);
  const textsFile = process.argv[2];
  if (textsFile !== undefined) writeFileSync(textsFile, JSON.stringify(texts, undefined, 1));
} finally {
  rmSync(folder, { recursive: true });
}
