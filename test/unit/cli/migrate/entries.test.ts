import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';

import { compareAgents, longestTtlOf, spireSvidsEndAt } from '../../../../cli/migrate/agents.ts';
import { compareEntries, type EntryFinding } from '../../../../cli/migrate/entries.ts';
import { entriesOfAgent, missingSelectors } from '../../../../cli/migrate/entries-of-agent.ts';
import { AgentSchema, type Agent } from '../../../../proto/gen/spire/api/types/agent_pb.ts';
import { EntrySchema, type Entry } from '../../../../proto/gen/spire/api/types/entry_pb.ts';

const NOW_MS = 1_000_000_000_000;
const NOW = NOW_MS / 1000;

function entry(id: string, path: string, parent: string, more: Partial<Omit<Entry, '$typeName' | '$unknown'>> = {}): Entry {
  const wireId = (each: string) => ({ trustDomain: 'example.org', path: each });
  const selectors = [{ type: 'unix', value: 'uid:1' }];
  return create(EntrySchema, { id, spiffeId: wireId(path), parentId: wireId(parent), selectors, ...more });
}

function agent(
  path: string,
  expiresAt: number,
  selectors: readonly string[] = [],
  more: Partial<Pick<Agent, 'banned'>> = {},
): Agent {
  return create(AgentSchema, {
    id: { trustDomain: 'example.org', path },
    attestationType: 'x509pop',
    x509svidExpiresAt: BigInt(expiresAt),
    selectors: selectors.map((value) => ({ type: 'x509pop', value })),
    ...more,
  });
}

function compare(
  spire: readonly Entry[],
  ours: readonly Entry[],
  leavePrefixes: readonly string[] = [],
): readonly EntryFinding[] {
  return compareEntries(spire, ours, { leavePrefixes, nowMs: NOW_MS });
}

const NODE = '/spire/agent/x509pop/a';

describe('entries beside each other', () => {
  const web = entry('1', '/web', NODE);

  it.each<[string, Entry, Entry[], string, string | undefined]>([
    ['the same', web, [web], 'same', undefined],
    ['the same under another ID', web, [entry('main.9', '/web', NODE)], 'same', undefined],
    [
      'selectors in another order',
      entry('1', '/a', NODE, { selectors: [s('x:1'), s('y:2')] }),
      [entry('1', '/a', NODE, { selectors: [s('y:2'), s('x:1')] })],
      'same',
      undefined,
    ],
    ['nothing', web, [], 'missing', undefined],
    [
      'another lifetime and hint',
      web,
      [entry('1', '/web', NODE, { x509SvidTtl: 60, hint: 'x' })],
      'changed',
      'differs in x509SvidTtl, hint',
    ],
    ['another parent', web, [entry('1', '/web', '/other')], 'changed', 'differs in parentId'],
    [
      'a revision and a time of creation',
      web,
      [entry('1', '/web', NODE, { revisionNumber: 7n, createdAt: 9n })],
      'same',
      undefined,
    ],
  ])('finds %s', (_what, theirs, ours, verdict, note) => {
    const [finding] = compare([theirs], ours);
    expect({ verdict: finding?.verdict, note: finding?.note }).toEqual({ verdict, note });
  });

  it('skips what cannot move, with its reason', () => {
    const bound = entry('2', '/b', '/spire/agent/join_token/t');
    const over = entry('3', '/c', NODE, { expiresAt: BigInt(NOW - 1) });
    const verdicts = compare([bound, over], []).map(({ verdict, note }) => `${verdict}: ${note}`);
    expect(verdicts).toEqual([expect.stringMatching(/^skipped: .*join token/), 'skipped: it has expired']);
  });

  it('leaves to a controller what is its own, until it is here', () => {
    const owned = entry('main.5', '/pod', NODE);
    expect(compare([owned, entry('mainly.6', '/x', NODE)], [], ['main']).map(({ verdict }) => verdict)).toEqual([
      'left',
      'missing',
    ]);
    expect(compare([owned], [entry('main.77', '/pod', NODE)], ['main']).map(({ verdict }) => verdict)).toEqual(['same']);
  });

  it('names what is only here, and what no agent here does', () => {
    const findings = compare([entry('1', '/s', NODE, { storeSvid: true })], [entry('9', '/mine', NODE)]);
    expect(findings.map(({ verdict, note }) => [verdict, note])).toEqual([
      ['missing', expect.stringContaining('storeSvid')],
      ['extra', undefined],
    ]);
  });
});

describe('agents beside each other', () => {
  it('tells where each is', () => {
    const theirs = [
      agent('/m', NOW + 60),
      agent('/s', NOW + 60),
      agent('/g', NOW - 60),
      agent('/b', NOW + 60, [], { banned: true }),
    ];
    const ours = [agent('/m', NOW + 60), agent('/s', NOW - 60), agent('/b', NOW + 60)];
    expect(compareAgents(theirs, ours, NOW_MS).map(({ state }) => state)).toEqual(['moved', 'at SPIRE', 'gone', 'banned']);
  });

  it('knows until when an SVID of SPIRE may live', () => {
    const agents = [agent('/a', NOW + 100), agent('/b', NOW + 300)];
    expect(spireSvidsEndAt([], 3600)).toBe(0);
    expect(spireSvidsEndAt(agents, 3600)).toBe(NOW + 3900);
    const entries = [entry('1', '/a', NODE, { x509SvidTtl: 7200 }), entry('2', '/b', NODE, { jwtSvidTtl: 10_000 })];
    expect([longestTtlOf([], 3600), longestTtlOf(entries, 3600)]).toEqual([3600, 10_000]);
  });

  it('finds the entries that an agent serves, through its aliases too', () => {
    const theirs = [
      entry('1', '/web', NODE),
      entry('2', '/group', '/spire/server', { selectors: [s('x509pop:cn')] }),
      entry('3', '/db', '/group'),
      entry('4', '/below', '/web'),
      entry('5', '/others', '/spire/server', { selectors: [s('x509pop:dn')] }),
      entry('6', '/elsewhere', '/others'),
    ];
    const findings = compare(theirs, []);
    const served = entriesOfAgent(agent(NODE, NOW, ['cn']), findings).map((finding) => finding.entry.id);
    expect(served.toSorted()).toEqual(['1', '2', '3', '4']);
    expect(missingSelectors(agent(NODE, NOW, ['cn']), agent(NODE, NOW), findings)).toEqual(['x509pop:cn']);
    expect(missingSelectors(agent(NODE, NOW, ['cn']), agent(NODE, NOW, ['cn']), findings)).toEqual([]);
  });
});

function s(text: string): { $typeName: 'spire.api.types.Selector'; type: string; value: string } {
  const [type = '', value = ''] = text.split(':');
  return { $typeName: 'spire.api.types.Selector', type, value };
}
