import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { importIstio } from '../../policy/import/istio.ts';
import type { Loss } from '../../policy/import/losses.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { usage, type CommandRun } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { documentsOf } from '../policy/yaml-documents.ts';

/** `countersign policy import istio`: our resources on standard output, what they lack on standard error or in `--report`. */
export const importPolicies: CommandRun = async (invocation) => {
  const { terminal, positionals, command } = invocation;
  const [format, ...files] = positionals;
  if (format !== 'istio') throw usage(command, `"${format ?? ''}" cannot be read; name istio, then the files`);
  if (files.length === 0) throw usage(command, 'name at least one FILE');
  const texts = await Promise.all(files.map(async (file) => documentsOf(await readFileOrInput(invocation, file), file)));
  const rootNamespace = invocation.text('root-namespace');
  const { resources, losses } = importIstio(texts.flat(), {
    trustDomain: parseTrustDomain(invocation.requiredText('trust-domain')).name,
    ...(rootNamespace === undefined ? {} : { rootNamespace }),
  });
  const { stringify } = await import('../../runtime/yaml.ts');
  terminal.write(resources.map((each) => stringify(each, { aliasDuplicateObjects: false })).join('---\n'));
  const report = invocation.text('report');
  const text = losses.map(lineOf).join('');
  if (report === undefined) terminal.writeError(text);
  else await writeFile(resolve(terminal.cwd, report), text);
  return 0;
};

function lineOf({ resource, field, effect, why }: Loss): string {
  return `${resource}: ${field}: ${effect}: ${why}\n`;
}
