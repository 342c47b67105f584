import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../spiffe/bundle.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import type { AgentFilter, EntryFilter, Match } from '../../../../ca/registry/filters.ts';
import { idAt, newAgent, newEntry, selectorsOf } from '../../../support/entries.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';
import { codeOf } from '../../../support/thrown-by.ts';

const [one, two, three] = ['one.org', 'two.org', 'three.org'].map((name) => parseTrustDomain(name)) as [
  ReturnType<typeof parseTrustDomain>,
  ReturnType<typeof parseTrustDomain>,
  ReturnType<typeof parseTrustDomain>,
];
let rig: RegistryRig;

beforeAll(async () => {
  rig = await RegistryRig.start();
  await rig.mutate(async (tx) => {
    for (const trustDomain of [one, two, three]) await tx.putBundle(new Bundle({ trustDomain }));
    const a = { parentId: idAt('/spire/agent/a') };
    const b = { parentId: idAt('/spire/agent/b') };
    await tx.createEntries([
      newEntry({ ...a, id: 'e1', spiffeId: idAt('/x'), selectors: selectorsOf('s:1'), federatesWith: [one], hint: 'h' }),
      newEntry({ ...a, id: 'e2', spiffeId: idAt('/x'), selectors: selectorsOf('s:1', 's:2'), federatesWith: [one, two] }),
      newEntry({ ...b, id: 'e3', spiffeId: idAt('/x'), selectors: selectorsOf('s:1', 's:2', 's:3'), downstream: true }),
      newEntry({ ...b, id: 'e4', spiffeId: idAt('/y'), selectors: selectorsOf('s:2', 's:3'), federatesWith: [two], hint: 'h' }),
      newEntry({ ...b, id: 'e5', spiffeId: idAt('/y'), selectors: selectorsOf('s:4'), downstream: true, hint: 'i' }),
    ]);
  });
});
afterAll(() => rig[Symbol.asyncDispose]());

const listed = (filter: EntryFilter) => rig.registry.entries.list(filter).items.map(({ id }) => id);
const bySelectors = (match: Match, ...texts: string[]): EntryFilter => ({
  bySelectors: { match, selectors: selectorsOf(...texts) },
});
const byFederation = (match: Match, ...trustDomains: (typeof one)[]): EntryFilter => ({
  byFederatesWith: { match, trustDomains },
});

describe('entries by filter, as in SPIRE', () => {
  const cases: readonly [string, EntryFilter, readonly string[]][] = [
    ['none', {}, ['e1', 'e2', 'e3', 'e4', 'e5']],
    ['SPIFFE ID', { bySpiffeId: idAt('/x') }, ['e1', 'e2', 'e3']],
    ['an unknown SPIFFE ID', { bySpiffeId: idAt('/z') }, []],
    ['parent', { byParentId: idAt('/spire/agent/b') }, ['e3', 'e4', 'e5']],
    ['hint', { byHint: 'h' }, ['e1', 'e4']],
    ['an empty hint', { byHint: '' }, ['e1', 'e2', 'e3', 'e4', 'e5']],
    ['downstream', { byDownstream: true }, ['e3', 'e5']],
    ['not downstream', { byDownstream: false }, ['e1', 'e2', 'e4']],
    ['exact selectors', bySelectors('exact', 's:2', 's:1'), ['e2']],
    ['a subset of selectors', bySelectors('subset', 's:1', 's:2'), ['e1', 'e2']],
    ['a superset of selectors', bySelectors('superset', 's:1', 's:2'), ['e2', 'e3']],
    ['any of the selectors', bySelectors('any', 's:1', 's:4'), ['e1', 'e2', 'e3', 'e5']],
    ['selectors that nobody has', bySelectors('superset', 's:1', 's:9'), []],
    ['exact federation', byFederation('exact', one), ['e1']],
    ['a subset of federation', byFederation('subset', one, two), ['e1', 'e2', 'e4']],
    ['a superset of federation', byFederation('superset', one, two), ['e2']],
    ['any federation', byFederation('any', two, three), ['e2', 'e4']],
    ['several at once', { bySpiffeId: idAt('/x'), byParentId: idAt('/spire/agent/a'), ...bySelectors('any', 's:2') }, ['e2']],
  ];
  test.each(cases)('%s', (_, filter, expected) => {
    expect(listed(filter)).toEqual(expected);
    expect(rig.registry.entries.count(filter)).toBe(expected.length);
  });
});

describe('agents by filter, as in SPIRE', () => {
  beforeAll(async () => {
    await rig.mutate(async (tx) => {
      await tx.putAgent(newAgent({ id: idAt('/spire/agent/1'), selectors: selectorsOf('s:1'), expiresAtMs: 1000 }));
      await tx.putAgent(
        newAgent({ id: idAt('/spire/agent/2'), attestationType: 'x509pop', canReattest: true, expiresAtMs: 2000 }),
      );
      await tx.putAgent(
        newAgent({ id: idAt('/spire/agent/3'), selectors: selectorsOf('s:1', 's:2'), banned: true, expiresAtMs: 3000 }),
      );
    });
  });
  const selectors = selectorsOf('s:1');
  const cases: readonly [string, AgentFilter, readonly string[]][] = [
    ['none', {}, ['1', '2', '3']],
    ['attestation type', { byAttestationType: 'x509pop' }, ['2']],
    ['an empty type', { byAttestationType: '' }, ['1', '2', '3']],
    ['banned', { byBanned: true }, ['3']],
    ['not banned', { byBanned: false }, ['1', '2']],
    ['can re-attest', { byCanReattest: true }, ['2']],
    ['cannot re-attest', { byCanReattest: false }, ['1', '3']],
    ['expires before', { byExpiresBeforeMs: 2000 }, ['1']],
    ['exact selectors', { bySelectorMatch: { match: 'exact', selectors } }, ['1']],
    ['a superset of selectors', { bySelectorMatch: { match: 'superset', selectors } }, ['1', '3']],
    ['a subset of selectors', { bySelectorMatch: { match: 'subset', selectors } }, ['1']],
    ['several at once', { byBanned: true, byCanReattest: true }, []],
  ];
  test.each(cases)('%s', (_, filter, expected) => {
    const names = rig.registry.agents.list(filter).items.map(({ id }) => id.path.slice('/spire/agent/'.length));
    expect(names).toEqual(expected);
    expect(rig.registry.agents.count(filter)).toBe(expected.length);
  });
});

describe('pages', () => {
  test('cover everything once, in order of creation, also by filter', () => {
    for (const filter of [{}, { bySpiffeId: idAt('/x') }, bySelectors('any', 's:1', 's:4')]) {
      const found: string[] = [];
      let token = '';
      do {
        const page = rig.registry.entries.list(filter, { size: 2, token });
        found.push(...page.items.map(({ id }) => id));
        expect(page.items.length).toBeGreaterThan(0);
        token = page.nextToken;
      } while (token !== '');
      expect(found).toEqual(listed(filter));
    }
  });

  test('go on where they stopped, whatever was created, changed or deleted meanwhile', async () => {
    await using own = await RegistryRig.start();
    const create = (...names: string[]) =>
      own.mutate((tx) => tx.createEntries(names.map((name) => newEntry({ id: name, spiffeId: idAt(`/${name}`) }))));
    await create('a', 'b', 'c', 'd', 'e', 'f');
    const { entries } = own.registry;
    const first = entries.list({}, { size: 2 });
    await own.mutate((tx) => tx.deleteEntry('b'));
    await own.mutate((tx) => tx.updateEntry('a', { hint: 'x' }));
    await own.mutate((tx) => tx.updateEntry('e', { hint: 'x' }));
    await create('g');
    const second = entries.list({}, { size: 2, token: first.nextToken });
    await own.restart();
    const third = own.registry.entries.list({}, { size: 9, token: second.nextToken });
    expect([first, second, third].map(({ items }) => items.map(({ id }) => id).join(''))).toEqual(['ab', 'cd', 'efg']);
    expect(third.nextToken).toBe('');
  });

  test('no size means everything', () => {
    expect(rig.registry.entries.list({}, { size: 0 }).items).toHaveLength(5);
  });

  test.each(['x', '-1', '1e3', '99999999999999999999', ' 1'])('the token "%s" was never given and is refused', (token) => {
    expect(codeOf(() => rig.registry.entries.list({}, { size: 1, token }))).toBe('invalid_argument');
  });
});
