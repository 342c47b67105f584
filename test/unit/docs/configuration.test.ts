// docs/configuration.md says what the schemas say: every key, and its default.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { describe, expect, test } from 'vitest';
import { agentConfig } from '../../../agent/config.ts';
import { csiConfig } from '../../../agent/csi/config.ts';
import { caConfig } from '../../../ca/config.ts';
import { controllerConfig } from '../../../controller/config.ts';
import { decode, DecodeError, type Decoder } from '../../../core/decode.ts';

const GUIDE = readFileSync(join(import.meta.dirname, '../../../docs/configuration.md'), 'utf8');

interface Row {
  readonly key: string;
  readonly fallback: string;
}

/** The rows of the table below a heading. */
function tableOf(heading: string): readonly Row[] {
  const section = GUIDE.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/^\| `([\w.]+)` \| [^|]+ \| ([^|]+) \|/gm)].map(([, key = '', fallback = '']) => ({
    key,
    fallback: fallback.trim(),
  }));
}

type Tree = { [key: string]: unknown };

/** A mapping with one value at a path such as `listen.grpc`. */
function at(path: string, value: unknown): Tree {
  const [first = '', ...rest] = path.split('.');
  return { [first]: rest.length === 0 ? value : at(rest.join('.'), value) };
}

function merge(one: Tree, other: Tree): Tree {
  const result: Tree = { ...one };
  for (const [key, value] of Object.entries(other)) {
    const known = result[key];
    result[key] = isTree(known) && isTree(value) ? merge(known, value) : value;
  }
  return result;
}

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The keys that a schema knows at a path: an unknown one makes it list them. Undefined where there is no mapping. */
function keysAt(schema: Decoder<unknown>, path: string): readonly string[] | undefined {
  const unknown = path === '' ? 'zzz' : `${path}.zzz`;
  try {
    decode(schema, at(unknown, 1));
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    for (const { path: where, message } of error.faults) {
      const list =
        (where === unknown && /^unknown key; known here: (.*)$/.exec(message)?.[1]) ||
        (where === path && /exactly one of the keys (.*)$/.exec(message)?.[1]);
      if (typeof list === 'string') return list.split(', ');
    }
  }
  return undefined;
}

/** Every key without keys below it. */
function leavesOf(schema: Decoder<unknown>, path = ''): readonly string[] {
  const keys = keysAt(schema, path);
  if (keys === undefined || keys.every((key) => key === 'none')) return [path];
  return keys.flatMap((key) => leavesOf(schema, path === '' ? key : `${path}.${key}`));
}

interface Documented {
  readonly heading: string;
  readonly schema: Decoder<unknown>;
  /** The least that decodes. */
  readonly minimal: Tree;
  /** What makes the rest of a key's mapping complete. */
  readonly context: Readonly<Record<string, Tree>>;
}

const SCHEMAS: readonly Documented[] = [
  {
    heading: 'ca.yaml',
    schema: caConfig('/base'),
    minimal: { trustDomain: 'example.org', dataDir: './data', listen: { grpc: '127.0.0.1:0', admin: 'unix:./a.sock' } },
    context: {
      'attestors.x509pop.maxIntermediates': at('attestors.x509pop.caFile', 'x'),
      'federation.endpoint.refreshHint': at('federation.endpoint.profile', 'https_web'),
    },
  },
  {
    heading: 'agent.yaml',
    schema: agentConfig('/base'),
    minimal: {
      trustDomain: 'example.org',
      dataDir: './data',
      server: '127.0.0.1:1',
      bootstrap: { insecure: true },
      attestor: { joinTokenFile: './token' },
      workloadAttestors: { unix: {} },
      listen: { workload: 'unix:./w.sock' },
    },
    context: {},
  },
  { heading: 'csi.yaml', schema: csiConfig('/base'), minimal: { socketFolder: '/run/sockets' }, context: {} },
  {
    heading: 'controller.yaml',
    schema: controllerConfig('/base'),
    minimal: { trustDomain: 'example.org', ca: { socket: 'unix:./a.sock' } },
    context: {},
  },
];

describe.each(SCHEMAS)('the table of $heading', ({ heading, schema, minimal, context }) => {
  const rows = tableOf(heading);

  test('has exactly the keys of the schema', () => {
    expect(rows.map(({ key }) => key).toSorted()).toEqual([...leavesOf(schema)].toSorted());
  });

  test('names as required what is required', () => {
    let missing: readonly string[] = [];
    try {
      decode(schema, {});
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      missing = error.faults.map(({ path }) => path);
    }
    const required = rows.filter(({ fallback }) => fallback === 'required').map(({ key }) => key);
    const isMissed = (key: string): boolean => missing.some((path) => key === path || key.startsWith(`${path}.`));
    expect(required.filter((key) => !isMissed(key))).toEqual([]);
  });

  test.each(rows.filter(({ fallback }) => fallback.startsWith('`')))('says the default of $key', ({ key, fallback }) => {
    const base = merge(minimal, context[key] ?? {});
    // The cast is sound: the cell holds a YAML value.
    const given: unknown = parse(fallback.replaceAll('`', ''));
    expect(decode(schema, merge(base, at(key, given)))).toEqual(decode(schema, base));
  });
});
