import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { importIstio } from '../../policy/import/istio.ts';
import { importConsul } from '../../policy/import/consul.ts';
import { importLinkerd } from '../../policy/import/linkerd.ts';
import type { Imported, Loss } from '../../policy/import/losses.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { type CommandRun, type Invocation, usage } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { documentsOf } from '../policy/yaml-documents.ts';

type Reader = (documents: readonly object[], invocation: Invocation) => Imported;

const READERS: Readonly<Record<string, Reader>> = {
  istio: (documents, invocation) => {
    const trustDomain = parseTrustDomain(invocation.requiredText('trust-domain')).name;
    const rootNamespace = invocation.text('root-namespace');
    return importIstio(documents, { trustDomain, ...(rootNamespace === undefined ? {} : { rootNamespace }) });
  },
  linkerd: (documents, invocation) => {
    const identityDomain = invocation.text('identity-domain');
    const clusterNetworks = invocation.texts('cluster-network');
    return importLinkerd(documents, { clusterNetworks, ...(identityDomain === undefined ? {} : { identityDomain }) });
  },
  consul: (documents, invocation) => {
    const defaultPolicy = invocation.text('default-policy') ?? 'deny';
    if (defaultPolicy !== 'allow' && defaultPolicy !== 'deny')
      throw usage(invocation.command, `--default-policy must be allow or deny, is "${defaultPolicy}"`);
    return importConsul(documents, { namespace: invocation.text('namespace') ?? 'default', defaultPolicy });
  },
};

/** `countersign policy import`: our resources on standard output, what they lack on standard error or in `--report`. */
export const importPolicies: CommandRun = async (invocation) => {
  const { terminal, positionals, command } = invocation;
  const [format, ...files] = positionals;
  const read = Object.hasOwn(READERS, format ?? '') ? READERS[format ?? ''] : undefined;
  if (read === undefined) {
    throw usage(command, `"${format ?? ''}" cannot be read; name ${Object.keys(READERS).join(', ')}, then the files`);
  }
  if (files.length === 0) throw usage(command, 'name at least one FILE');
  const texts = await Promise.all(files.map(async (file) => documentsOf(await readFileOrInput(invocation, file), file)));
  const { resources, losses } = read(texts.flat(), invocation);
  const { stringify } = await import('../../runtime/yaml.ts');
  terminal.write(resources.map((each) => stringify(each, { aliasDuplicateObjects: false })).join('---\n'));
  const report = invocation.text('report');
  const text = losses.map(lineOf).join('');
  if (report === undefined) terminal.writeError(text);
  else await writeFile(resolve(terminal.cwd, report), text);
  return invocation.flag('fail-on-loss') && losses.length > 0 ? 1 : 0;
};

function lineOf({ resource, field, effect, why }: Loss): string {
  return `${resource}: ${field}: ${effect}: ${why}\n`;
}
