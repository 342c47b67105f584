// Random specifications near the border between what is admitted and what is not: a good one with a few fields changed.
import * as fc from 'fast-check';
import type { OpenApiSchema } from '../../../policy/schema/schema.ts';
import { withField } from './bad-specs.ts';

const letters = (count: number): string => 'a'.repeat(count);

/** In groups: of no kind in particular, selectors and templates, durations, IDs, DNS names, URLs, label keys, lengths. */
const TEXTS: readonly string[] = [
  ['', ' ', 'a', 'A', '-', '.', '..', '...', '_', '/', ':', 'é', '💡', 'a\nb', 'a\n', '\n', '\u{2028}', '\t', '\0'],
  [
    'a:b',
    'a:',
    ':b',
    'a:b:c',
    'a: b',
    'a:\n',
    'k8s:ns:shop',
    'unix:uid:1000',
    '{{ .A }}',
    '{{',
    ' {{ .A }}',
    'x{{ .A }}',
    '\n{{- .A }}',
  ],
  [
    '10s',
    '9.999s',
    '10.000s',
    '8760h',
    '8760h0s',
    '8760h1s',
    '1h30m',
    '1.5h',
    '0.001h',
    '.5h',
    '1.h',
    '1e3s',
    '1d',
    '0',
    '00010s',
    '+1h',
  ],
  ['1234567890s', '999999999h', '153722867m17s', '1h1h', '60m60m', '1ms', '1h ', '１h'],
  [
    'spiffe://a/b',
    'spiffe://a',
    'spiffe://a/',
    'spiffe://a/b/',
    'spiffe://a//b',
    'spiffe://a/.',
    'spiffe://a/..',
    'spiffe://a/...',
  ],
  [
    'spiffe://a/b..',
    'spiffe://a/..b',
    'spiffe://a/.b',
    'spiffe://a/b/../c',
    'spiffe://A/b',
    'spiffe://a_b-c.d/E_f-g.h',
    'SPIFFE://a/b',
  ],
  [
    'spiffe://example.org/spire',
    'spiffe://example.org/spire/agent',
    'spiffe://example.org/spires',
    'spiffe://example.org/a/spire/b',
  ],
  [
    'spiffe://a/b\n',
    'spiffe://a/é',
    'spiffe://a/b?c',
    'spiffe://a/%41',
    'spiffe://./a',
    'spiffe://..',
    'spiffe:///a',
    'spiffe://',
  ],
  [
    'example.org',
    'a.b',
    'a..b',
    'a.',
    '.a',
    '*.a',
    '*',
    '*.*.a',
    'a.*',
    '-a.b',
    'a-.b',
    'a-b.c',
    '_a._b',
    'xn--a',
    'a--b',
    'A.B',
  ],
  [
    'https://a',
    'https://a/',
    'https://a:1',
    'https://a:123456/',
    'https://a?b',
    'https://a/?b=c&d',
    'https://a/%41',
    'https://a/%4',
  ],
  [
    'https://[::1]:80/',
    'https://[zz]/',
    'https://a@b/',
    'https://a/@b',
    'https://a#b',
    'https://a/#b',
    'https://a b',
    'https://a/[b]',
  ],
  ['https://-a', 'https://a-', 'https://a..b/', 'http://a', 'https://', "https://a/'"],
  ['example.org/name', 'Example.org/name', 'a/b/c', '/b', 'a/', 'a.b/c_d', 'a_b/c', '-a/b', 'a/-b', '1', 'true'],
  [63, 64, 253, 254, 255, 256, 316, 317, 318, 1024, 1025, 2047, 2048, 2049, 4096, 4097].map(letters),
  [`${letters(253)}/${letters(63)}`, `${letters(254)}/${letters(62)}`, `${letters(253)}/${letters(64)}`],
  [`spiffe://a/${letters(2037)}`, `spiffe://a/${letters(2038)}`, `spiffe://${letters(255)}/a`, `spiffe://${letters(256)}/a`],
  ['é'.repeat(512), 'é'.repeat(513), '💡'.repeat(256), '💡'.repeat(257), '💡'.repeat(63), '💡'.repeat(64)],
].flat();

const text = fc.constantFrom(...TEXTS);
const json = fc.oneof(text, fc.integer({ min: -2, max: 2 }), fc.boolean(), fc.constant(null), fc.constant([]), fc.constant({}));

/** Values that the schema may admit: of its type, but not always within its limits. */
function near(schema: OpenApiSchema): fc.Arbitrary<unknown> {
  if (schema.enum !== undefined) return fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...schema.enum) }, text);
  if (schema.type === 'string') return text;
  if (schema.type === 'boolean') return fc.boolean();
  if (schema.items !== undefined) return fc.array(near(schema.items), { maxLength: 3 });
  if (schema['x-kubernetes-preserve-unknown-fields']) {
    return fc.dictionary(fc.oneof(text, fc.constantFrom('iss', 'act', 'Iss', 'team')), json, {
      maxKeys: 3,
      noNullPrototype: true,
    });
  }
  if (schema.additionalProperties !== undefined) {
    return fc.dictionary(text, near(schema.additionalProperties), { maxKeys: 3, noNullPrototype: true });
  }
  const properties = Object.entries(schema.properties ?? {}).map(([key, value]) => [key, near(value)] as const);
  return fc.record(Object.fromEntries(properties), { requiredKeys: [...(schema.required ?? [])], noNullPrototype: true });
}

/** Every field that can be set through objects alone, by its path, with values for it. */
function fieldsOf(schema: OpenApiSchema, prefix = ''): { path: string; value: fc.Arbitrary<unknown> }[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => {
    const path = `${prefix}${key}`;
    const wrong = fc.oneof(
      json,
      fc.constant(undefined),
      fc.array(json, { maxLength: 2 }),
      fc.dictionary(text, json, { maxKeys: 2 }),
    );
    const value = fc.oneof({ weight: 6, arbitrary: near(field) }, { weight: 1, arbitrary: wrong });
    const inner = field['x-kubernetes-preserve-unknown-fields'] ? [] : fieldsOf(field, `${path}.`);
    return [{ path, value }, ...inner];
  });
}

/** The specification with up to three fields changed. */
export function randomSpecs(schema: OpenApiSchema, good: Readonly<Record<string, unknown>>): fc.Arbitrary<unknown> {
  const changes = fieldsOf(schema).map(({ path, value }) => fc.tuple(fc.constant(path), value));
  return fc.array(fc.oneof(...changes), { minLength: 1, maxLength: 3 }).map((list) =>
    // Shorter paths first: what lies within a field is not lost when the field is set.
    list
      .sort(([one], [other]) => one.length - other.length)
      .reduce<Record<string, unknown>>((spec, [path, value]) => setWhereObject(spec, path, value), { ...good }),
  );
}

function setWhereObject(spec: Record<string, unknown>, path: string, value: unknown): Record<string, unknown> {
  const parents = path.split('.').slice(0, -1);
  let at: unknown = spec;
  for (const key of parents) {
    // The cast is sound: only objects get this far.
    at = (at as Record<string, unknown>)[key];
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return spec;
  }
  return withField(spec, path, value);
}
