import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';

import { EntryRecord } from '../../../../agent/cache/entry-record.ts';
import type { AgentEntry } from '../../../../agent/cache/identities.ts';
import type { SvidIssuer } from '../../../../agent/cache/issuer.ts';
import { X509Signer } from '../../../../agent/cache/x509-signer.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { parseCsr } from '../../../../spiffe/csr.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { createTestKey } from '../../../support/test-keys.ts';

const entryOf = (id: string): AgentEntry => ({
  id,
  spiffeId: parseSpiffeId(`spiffe://example.org/${id}`),
  selectors: ['unix:uid:1'],
  federatesWith: [],
  hint: '',
  admin: false,
  downstream: false,
  dnsNames: [],
  x509SvidTtlSeconds: 0,
  jwtSvidTtlSeconds: 0,
  revisionNumber: 1n,
  createdAtSeconds: 1,
  disableX509SvidPrefetch: false,
  jwtSvidIncludeJti: false,
});

/** An issuer that answers one batch each time the test lets it. */
class GatedIssuer implements Pick<SvidIssuer, 'signX509Svids'> {
  readonly batches: string[][] = [];
  readonly #ca: TestCa;
  #gate = Promise.withResolvers<void>();

  constructor(nowMs: number) {
    this.#ca = TestCa.create({ nowMs });
  }

  async open(): Promise<void> {
    const gate = this.#gate;
    this.#gate = Promise.withResolvers();
    gate.resolve();
    for (let turn = 0; turn < 3; turn++) await nextTurn();
  }

  async signX509Svids(requests: Parameters<SvidIssuer['signX509Svids']>[0]) {
    this.batches.push(requests.map(({ entryId }) => entryId));
    await this.#gate.promise;
    return requests.map(({ entryId, csr }) => {
      const { publicKeyInfo, spki } = parseCsr(csr);
      const key = { ...createTestKey(), publicKey: publicKeyInfo.keyObject(), spki };
      return { ok: true, value: { chainDer: this.#ca.issueX509Svid(`/${entryId}`, { key }).chain } } as const;
    });
  }
}

const started = (count: number) => {
  const clock = new ManualClock();
  const issuer = new GatedIssuer(clock.nowMs());
  const log = createLogger({ level: 'fatal', name: 'test' });
  const attempted: EntryRecord[] = [];
  const other = (): Promise<never> => Promise.reject(new Error('not asked for'));
  const signer = new X509Signer({
    issuer: { signX509Svids: (requests) => issuer.signX509Svids(requests), signJwtSvid: other, signWitSvids: other },
    clock,
    log,
    onAttempted: (records) => attempted.push(...records),
  });
  const records = Array.from({ length: count }, (_, index) => new EntryRecord(entryOf(`e${index}`)));
  signer.enqueue(records);
  return { issuer, signer, records, attempted };
};

test('takes first what a caller waits for', async () => {
  const { issuer, signer, records } = started(130);
  signer.hurry(records.slice(125, 127));
  await issuer.open();
  expect(issuer.batches[1]?.slice(0, 2)).toEqual(['e125', 'e126']);
  await issuer.open();
  await issuer.open();
  expect(issuer.batches.map((batch) => batch.length)).toEqual([50, 50, 30]);
  expect(new Set(issuer.batches.flat()).size).toBe(130);
  expect(records.every(({ identity }) => identity !== undefined)).toBe(true);
});

test('what is asked for again while the answer is under way is signed once, and told of', async () => {
  const { issuer, signer, records, attempted } = started(1);
  signer.enqueue(records);
  await issuer.open();
  await issuer.open();
  expect(issuer.batches).toEqual([['e0']]);
  expect(attempted).toEqual(records);
});

test('an answer for an entry that changed under way is not used', async () => {
  const { issuer, records } = started(1);
  const [record] = records;
  if (record === undefined) throw new Error('no record');
  record.entry = { ...entryOf('e0'), dnsNames: ['new.example.org'] };
  await issuer.open();
  expect(record.identity).toBeUndefined();
  expect(issuer.batches).toHaveLength(2);
  await issuer.open();
  expect(record.identity).toBeDefined();
});

test('an entry that is gone is not signed', async () => {
  const { issuer, signer, records } = started(60);
  for (const record of records.slice(50)) signer.remove(record);
  await issuer.open();
  expect(issuer.batches).toHaveLength(1);
});
