import { resolve } from 'node:path';

import { ENDPOINT_VARIABLE, parseWorkloadEndpoint } from '../client/endpoint.ts';
import { IdentityError, isIdentityError } from '../core/errors.ts';
import type { Invocation } from './command.ts';

/**
 * The Workload API that a command talks to: `--socket`, else the standard's variable, else the place of the README.
 *
 * @throws IdentityError `invalid_argument` when `--socket` cannot be read
 */
export function workloadAddress(invocation: Invocation): string {
  const { cwd, environment } = invocation.terminal;
  const given = invocation.text('socket');
  if (given === undefined) return environment[ENDPOINT_VARIABLE] ?? `unix://${resolve(cwd, 'run/agent/public/api.sock')}`;
  const address = given.startsWith('tcp:') ? given : `unix://${resolve(cwd, given.replace(/^unix:(\/\/)?/, ''))}`;
  try {
    parseWorkloadEndpoint(address);
  } catch (cause) {
    if (!isIdentityError(cause)) throw cause;
    // Its field is the variable, which is not where this address came from.
    const message = cause.message.replace(`${ENDPOINT_VARIABLE}: `, '');
    throw new IdentityError('invalid_argument', message, { field: '--socket', cause });
  }
  return address;
}
