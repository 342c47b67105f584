// Writes crds/*.yaml and docs/resources.md from the definitions in crds/, and tells what of it is out of date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { customResourceDefinition } from '../crds/custom-resource-definition.ts';
import { OWN_DEFINITIONS, POLICY_DEFINITIONS } from '../crds/index.ts';
import { resourceReference } from './resource-reference.ts';

/** Where the definitions are, by what the header of the generated file says. */
const DEFINITIONS = [
  ...OWN_DEFINITIONS.map((definition) => ({ definition, folder: '' })),
  ...POLICY_DEFINITIONS.map((definition) => ({ definition, folder: '../policy/resources/' })),
];

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Every generated file by its path in the tree, with its content. */
export function generatedResourceFiles(): ReadonlyMap<string, string> {
  const definitions = DEFINITIONS.map(({ definition, folder }) => {
    const name = fileNameOf(definition.type.kind);
    const header = `# Written by \`npm run generate\` from ${folder}${name}.ts: change that.\n`;
    const yaml = stringify(customResourceDefinition(definition), {
      lineWidth: 0,
      singleQuote: true,
      aliasDuplicateObjects: false,
    });
    return [`crds/${name}.yaml`, header + yaml] as const;
  });
  return new Map([...definitions, ['docs/resources.md', resourceReference(DEFINITIONS.map(({ definition }) => definition))]]);
}

/** `ClusterWorkloadIdentity` → `cluster-workload-identity`. */
function fileNameOf(kind: string): string {
  return kind.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
}

/** Writes them all. */
export function writeResourceFiles(): void {
  for (const [path, content] of generatedResourceFiles()) writeFileSync(join(root, path), content);
}

/** Paths of those that are not what would be written now. */
export function staleResourceFiles(): string[] {
  const isCurrent = ([path, content]: [string, string]): boolean =>
    existsSync(join(root, path)) && readFileSync(join(root, path), 'utf8') === content;
  return [...generatedResourceFiles()].filter((file) => !isCurrent(file)).map(([path]) => path);
}
