import { resolve } from 'node:path';

import { ENDPOINT_VARIABLE } from '../client/endpoint.ts';
import type { Invocation } from './command.ts';

/** The Workload API that a command talks to: `--socket`, else the standard's variable, else the place of the README. */
export function workloadAddress(invocation: Invocation): string {
  const { cwd, environment } = invocation.terminal;
  const given = invocation.text('socket');
  if (given === undefined) return environment[ENDPOINT_VARIABLE] ?? `unix://${resolve(cwd, 'run/agent/public/api.sock')}`;
  if (given.startsWith('tcp:')) return given;
  return `unix://${resolve(cwd, given.replace(/^unix:(\/\/)?/, ''))}`;
}
