import { IdentityError } from '../../core/errors.ts';
import type { Call } from '../../policy/model.ts';
import { parseCall } from '../../policy/documents/call-document.ts';
import { usage, type Invocation } from '../command.ts';

/**
 * The call that the options of `policy explain` describe. Without any of `--method`, `--host`, `--path` and `--header` it is a connection.
 *
 * @throws IdentityError `invalid_argument`
 */
export function callOfOptions(invocation: Invocation, atMs: number): Call {
  const document = { source: sourceOf(invocation), destination: destinationOf(invocation) };
  const [request, user] = [requestOf(invocation), userOf(invocation)];
  return parseCall({ ...document, ...(request === undefined ? {} : { request }), ...(user === undefined ? {} : { user }) }, atMs);
}

function sourceOf(invocation: Invocation): object {
  return present({
    spiffeId: invocation.text('from'),
    namespace: invocation.text('from-namespace'),
    serviceAccount: invocation.text('from-service-account'),
    address: invocation.text('from-address'),
  });
}

function destinationOf(invocation: Invocation): object {
  const port = invocation.text('port');
  return present({
    spiffeId: invocation.text('to'),
    namespace: invocation.text('to-namespace'),
    serviceAccount: invocation.text('to-service-account'),
    selectors: invocation.texts('selector'),
    port: port === undefined ? undefined : Number(port),
  });
}

function requestOf(invocation: Invocation): object | undefined {
  const headers = invocation.texts('header').map((text) => {
    const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(text) ?? [];
    if (name === undefined || value === undefined) throw usage(invocation.command, `--header "${text}" must be "name: value"`);
    return [name, value] as const;
  });
  const [method, host, path] = ['method', 'host', 'path'].map((name) => invocation.text(name));
  if (method === undefined && host === undefined && path === undefined && headers.length === 0) return undefined;
  const byName = Object.groupBy(headers, ([name]) => name);
  const listed = Object.entries(byName).map(([name, pairs = []]) => [name, pairs.map(([, value]) => value)] as const);
  return present({ method, host, path, headers: Object.fromEntries(listed) });
}

function userOf(invocation: Invocation): object | undefined {
  const text = invocation.text('claims');
  if (text === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(text);
    // What is no mapping has no fields, and the parser of the call says so.
    const { iss, sub } = Object(claims) as { iss?: unknown; sub?: unknown };
    return { issuer: iss, subject: sub, claims };
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'must be a JSON object with iss and sub', { field: '--claims', cause });
  }
}

function present(fields: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
