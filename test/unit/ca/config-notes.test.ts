import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { runCa } from '../../../ca/main.ts';

let folder: string;
let printed: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'notes-'));
  printed = '';
});
afterEach(() => rmSync(folder, { recursive: true }));

const BASE = 'trustDomain: example.org\ndataDir: ./data\nlisten: { grpc: "127.0.0.1:0", admin: "unix:./admin.sock" }\n';

function check(yaml: string): Promise<number> {
  const configFile = join(folder, 'ca.yaml');
  writeFileSync(configFile, BASE + yaml);
  return runCa({ configFile, checkConfig: true, write: (text) => (printed += text) });
}

describe('ca run --check-config', () => {
  it('accepts a good file without a word too many', async () => {
    expect(await check('')).toBe(0);
    expect(printed).toBe(`${join(folder, 'ca.yaml')} is good\n`);
  });

  it('notes settings that have no effect', async () => {
    expect(await check('jwtIssuer: https://id.example.org\nfederation: { endpoint: { profile: https_spiffe } }\n')).toBe(0);
    expect(printed).toContain('note: jwtIssuer: ');
    expect(printed).toContain('note: federation.endpoint: ');
  });

  it('finds every file that cannot be read, with its key', async () => {
    const yaml = 'store: { kind: postgres, urlFile: ./url }\nupstream: { disk: { certFile: ./root.pem, keyFile: ./root.key } }\n';
    expect(await check(yaml)).toBe(1);
    for (const key of ['store.urlFile', 'upstream.disk.certFile', 'upstream.disk.keyFile'])
      expect(printed).toContain(`fault: ${key}: `);
    expect(printed).toContain('has 3 fault(s)');
  });
});
