import { IdentityError } from '../../core/errors.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readResources, requireCompiles } from '../policy/policy-files.ts';

interface Name {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

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

function nameOf({ namespace, name }: { readonly namespace: string; readonly name: string }): Name {
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

async function namesOf(invocation: Invocation): Promise<readonly Name[]> {
  const files = invocation.texts('file');
  const given = invocation.positionals.map(parseName);
  if (files.length === 0 && given.length === 0)
    throw usage(invocation.command, 'name at least one KIND/NAMESPACE/NAME, or -f FILE');
  const { policies, authentications } = await readResources(invocation, files);
  return [...given, ...policies.map(({ name }) => name), ...authentications.map(({ meta }) => nameOf(meta))];
}

/** Reads `AuthorizationPolicy/shop/orders` or `ClusterAuthorizationPolicy/baseline`. */
function parseName(text: string): Name {
  const [kind = '', ...parts] = text.split('/');
  const [namespace, name] = parts.length === 1 ? ['', parts[0]] : parts;
  if (parts.length > 2 || namespace === undefined || name === undefined || name === '') {
    throw new IdentityError(
      'invalid_argument',
      `"${text}" must be KIND/NAMESPACE/NAME, or KIND/NAME of a ClusterAuthorizationPolicy`,
    );
  }
  return { kind, namespace, name };
}

function textOf({ kind, namespace, name }: Name): string {
  return namespace === '' ? `${kind}/${name}` : `${kind}/${namespace}/${name}`;
}
