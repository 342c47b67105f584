// Writes proto/gen/ from the .proto files beside it, and reports what of it is out of date. Run as a program, it writes the
// files of the Kubernetes resources as well.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeAuthorizationGuide } from './authorization-examples.ts';
import { writeResourceFiles } from './generate-crds.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const protoFolder = join(root, 'proto');
const generatedFolder = join(protoFolder, 'gen');
const binaries = join(root, 'node_modules', '.bin');

/**
 * Generates TypeScript for every .proto file, offline. What was in the folder before is removed.
 *
 * @param outputFolder Absolute path.
 * @throws Error with buf's own message when a .proto file is wrong.
 */
export function generateInto(outputFolder: string): void {
  const template = {
    version: 'v2',
    clean: true,
    plugins: [
      {
        local: join(binaries, 'protoc-gen-es'),
        out: outputFolder,
        opt: ['target=ts', 'import_extension=.ts', 'erasable_syntax=true'],
      },
    ],
  };
  const buf = spawnSync(join(binaries, 'buf'), ['generate', '--template', JSON.stringify(template)], {
    cwd: protoFolder,
    encoding: 'utf8',
  });
  if (buf.status !== 0) throw new Error(`buf generate failed:\n${buf.stderr}`, { cause: buf.error });
}

/** Paths below proto/gen/ that differ from what the .proto files give now: changed, missing or left over. Sorted. */
export function staleFiles(): string[] {
  const scratch = mkdtempSync(join(tmpdir(), 'countersign-generate-'));
  try {
    generateInto(scratch);
    const fresh = readFiles(scratch);
    const committed = readFiles(generatedFolder);
    const paths = new Set([...fresh.keys(), ...committed.keys()]);
    return [...paths].filter((path) => fresh.get(path) !== committed.get(path)).sort();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function readFiles(folder: string): Map<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(files.map((file) => [file.slice(folder.length + 1), readFileSync(file, 'utf8')]));
}

if (import.meta.main) {
  generateInto(generatedFolder);
  writeResourceFiles();
  writeAuthorizationGuide();
}
