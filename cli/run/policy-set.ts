import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readResources, requireCompiles } from '../policy/policy-files.ts';
import { parseResourceName, type ResourceName } from '../policy/policy-names.ts';

/** `countersign policy set`: all of them in one change, or none. */
export const setPolicies: CommandRun = async (invocation) => {
  const declared = await readResources(invocation, invocation.texts('file'));
  await requireCompiles(declared);
  const { policies, authentications } = declared;
  const resources = [
    ...policies.map((policy) => ({ name: policy.name, document: encodePolicy(policy) })),
    ...authentications.map((each) => ({ name: nameOf(each.meta), document: encodeRequestAuthentication(each) })),
  ];
  using connection = await connectCa(invocation);
  await connection.client(Policies).setResources({ resources });
  for (const { name } of resources) invocation.terminal.write(`${textOf(name)} set\n`);
  return 0;
};

function nameOf({ namespace, name }: { readonly namespace: string; readonly name: string }): ResourceName {
  return { kind: 'RequestAuthentication', namespace, name };
}

/** `countersign policy delete` */
export const deletePolicies: CommandRun = async (invocation) => {
  const names = await namesOf(invocation);
  using connection = await connectCa(invocation);
  await connection.client(Policies).deleteResources({ names: [...names] });
  for (const name of names) invocation.terminal.write(`${textOf(name)} deleted\n`);
  return 0;
};

async function namesOf(invocation: Invocation): Promise<readonly ResourceName[]> {
  const files = invocation.texts('file');
  const given = invocation.positionals.map((text) => parseResourceName(text));
  if (files.length === 0 && given.length === 0)
    throw usage(invocation.command, 'name at least one KIND/NAMESPACE/NAME, or -f FILE');
  const { policies, authentications } = await readResources(invocation, files);
  return [...given, ...policies.map(({ name }) => name), ...authentications.map(({ meta }) => nameOf(meta))];
}

function textOf({ kind, namespace, name }: ResourceName): string {
  return namespace === '' ? `${kind}/${name}` : `${kind}/${namespace}/${name}`;
}
