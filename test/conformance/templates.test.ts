// Renders templates with Go's text/template over the real Kubernetes types and here, and compares.
import { sample } from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type TemplateDataSource, templateData } from '../../controller/template/pod-data.ts';
import { parseTemplate, type Template } from '../../controller/template/template.ts';
import { isJsonObject } from '../../controller/template/value.ts';
import { templateTypes } from '../../scripts/template-types.ts';
import { isInstalled } from '../support/toolchain.ts';
import { damagedTemplate, template } from './templates/arbitrary.ts';
import { FAILS, REFUSED, SAME } from './templates/cases.ts';
import { type Comparison, GoOracle } from './templates/go-oracle.ts';
import { BARE_SOURCE, SOURCE } from './templates/objects.ts';

describe.skipIf(!isInstalled('go'))('identity templates beside text/template (needs go)', () => {
  let oracle: GoOracle;

  beforeAll(async () => {
    oracle = await GoOracle.start();
  });

  afterAll(async () => {
    await oracle[Symbol.asyncDispose]();
  });

  it('knows the Kubernetes types as Go has them', () => {
    const { committed, current } = templateTypes();
    expect(committed).toBe(current);
  });

  it('renders the same', async () => {
    expect(others(await oracle.compare(SAME, SOURCE), 'same')).toEqual([]);
  });

  it('renders the same, or fails as well, for objects with next to nothing in them', async () => {
    const compared = await oracle.compare([...SAME, ...FAILS], BARE_SOURCE);
    expect(compared.filter(({ verdict }) => verdict === 'wrong')).toEqual([]);
    expect(compared.filter(({ verdict }) => verdict === 'refused').length).toBeLessThan(10);
  });

  it('fails where Go fails', async () => {
    expect(others(await oracle.compare(FAILS, SOURCE), 'both fail')).toEqual([]);
  });

  it.each(Object.entries(REFUSED))('refuses %s', async (_reason, templates) => {
    expect(others(await oracle.compare(templates, SOURCE), 'refused')).toEqual([]);
  });

  // Another seed finds other templates: FC_SEED=$RANDOM.
  const seed = Number(process.env['FC_SEED'] ?? 4);

  it('agrees on templates that a grammar makes', { timeout: 120_000 }, async () => {
    const compared = await oracle.compare(sample(template, { numRuns: 6_000, seed }), SOURCE);
    expect(compared.filter(({ verdict }) => verdict === 'wrong')).toEqual([]);
    const count = countsOf(compared);
    console.log(`made templates: ${JSON.stringify(count)}`);
    expect(count.same).toBeGreaterThan(1_500);
    expect(count.unsupported).toBeLessThan(1_200);
    expect(count.certain).toBeLessThan(600);
    expect(count.limit).toBe(0);
  });

  it('reads nothing but what it says that it reads', () => {
    const texts = [...SAME, ...sample(template, { numRuns: 3_000, seed })];
    expect(texts.filter((text) => outcome(text) !== outcome(text, SOURCE))).toEqual([]);
  });

  it('agrees on what damaged templates are', { timeout: 120_000 }, async () => {
    const compared = await oracle.compare(sample(damagedTemplate, { numRuns: 3_000, seed }), SOURCE);
    expect(compared.filter(({ verdict }) => verdict === 'wrong')).toEqual([]);
    console.log(`damaged templates: ${JSON.stringify(countsOf(compared))}`);
  });
});

/** What templates read of the objects, and nothing else: each object on the way is there, as it was. */
function keptParts(references: Template['references']): TemplateDataSource {
  const { pod, node } = SOURCE;
  const roots = { PodMeta: pod.metadata, PodSpec: pod.spec, NodeMeta: node.metadata, NodeSpec: node.spec };
  const [PodMeta, PodSpec, NodeMeta, NodeSpec] = Object.entries(roots).map(([root, object]) => {
    const paths = references.filter(([first]) => first === undefined || first === root).map((path) => path.slice(1));
    return kept(object, paths);
  });
  return { ...SOURCE, pod: { metadata: PodMeta, spec: PodSpec }, node: { metadata: NodeMeta, spec: NodeSpec } };
}

function kept(object: unknown, paths: readonly (readonly string[])[]): unknown {
  if (!isJsonObject(object) || paths.some(({ length }) => length === 0)) return object;
  const names = Map.groupBy(paths, ([name = '']) => name.toLowerCase());
  const fields = Object.entries(object).flatMap(([key, value]) => {
    const below = names.get(key.toLowerCase());
    return below === undefined
      ? []
      : [
          [
            key,
            kept(
              value,
              below.map((path) => path.slice(1)),
            ),
          ] as const,
        ];
  });
  return Object.fromEntries(fields);
}

function outcome(text: string, source?: TemplateDataSource): string {
  try {
    const parsed = parseTemplate(text, 'template');
    return parsed.render(templateData(source ?? keptParts(parsed.references)));
  } catch (error) {
    return String(error);
  }
}

/** How often each verdict was given, and why what Go renders was refused. */
function countsOf(compared: readonly Comparison[]): Record<'same' | 'fails' | 'unsupported' | 'certain' | 'limit', number> {
  const count = { same: 0, fails: 0, unsupported: 0, certain: 0, limit: 0 };
  for (const { verdict, ours } of compared) {
    if (verdict === 'same') count.same += 1;
    else if (verdict === 'both fail') count.fails += 1;
    else if ('failure' in ours && ours.failure in count) count[ours.failure as 'unsupported' | 'certain' | 'limit'] += 1; // checked by `in`
  }
  return count;
}

function others(compared: readonly Comparison[], verdict: Comparison['verdict']): readonly Comparison[] {
  return compared.filter((comparison) => comparison.verdict !== verdict);
}
