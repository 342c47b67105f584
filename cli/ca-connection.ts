import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { systemClock } from '../core/clock.ts';
import { IdentityError } from '../core/errors.ts';
import { parseListenAddress, type ListenAddress } from '../runtime/config-file.ts';
import { connectGrpc, type GrpcConnection } from '../runtime/grpc-client.ts';
import type { Invocation, OptionSpec } from './command.ts';

/** How a command finds the CA: over its private socket, or over mTLS with an admin's SVID. */
export const CA_OPTIONS: Readonly<Record<'socket' | 'config' | 'server', OptionSpec>> = {
  socket: { value: 'PATH', summary: "the CA's private socket; else $COUNTERSIGN_ADMIN_SOCKET, else ./run/ca/admin.sock" },
  config: { value: 'FILE', summary: "the CA's configuration file, to read the socket's place from" },
  server: {
    value: 'HOST:PORT',
    summary: 'the CA over mTLS instead, as the admin that the Workload API ($SPIFFE_ENDPOINT_SOCKET) says you are',
  },
};

/** How a command finds the agent's private socket. */
export const AGENT_OPTIONS: Readonly<Record<'socket' | 'config', OptionSpec>> = {
  socket: {
    value: 'PATH',
    summary: "the agent's private socket; else $COUNTERSIGN_AGENT_ADMIN_SOCKET, else ./run/agent/private/admin.sock",
  },
  config: { value: 'FILE', summary: "the agent's configuration file, to read the socket's place from" },
};

/** Opens the CA's private socket, or its listener for remote admins; use it with `using`. */
export async function connectCa(invocation: Invocation): Promise<GrpcConnection> {
  const server = invocation.text('server');
  if (server !== undefined) {
    const { connectAsAdmin } = await import('./remote-admin.ts');
    return connectAsAdmin(invocation, parseListenAddress(server, invocation.terminal.cwd));
  }
  const target = await findSocket(invocation, { variable: 'COUNTERSIGN_ADMIN_SOCKET', fallback: 'run/ca/admin.sock' });
  return connectGrpc({ target, clock: systemClock });
}

/** Opens the agent's private socket; use it with `using`. */
export async function connectAgent(invocation: Invocation): Promise<GrpcConnection> {
  const target = await findSocket(invocation, {
    variable: 'COUNTERSIGN_AGENT_ADMIN_SOCKET',
    fallback: 'run/agent/private/admin.sock',
  });
  return connectGrpc({ target, clock: systemClock });
}

interface Places {
  readonly variable: string;
  readonly fallback: string;
}

async function findSocket(invocation: Invocation, { variable, fallback }: Places): Promise<ListenAddress> {
  const { cwd, environment } = invocation.terminal;
  const given = invocation.text('socket');
  if (given !== undefined) return socketAddress(given, cwd);
  const config = invocation.text('config');
  if (config !== undefined) return socketOfConfig(resolve(cwd, config));
  return socketAddress(environment[variable] ?? fallback, cwd);
}

function socketAddress(text: string, baseDir: string): ListenAddress {
  return parseListenAddress(text.startsWith('unix:') ? text : `unix:${text}`, baseDir);
}

/** Reads only `listen.admin`, so that a command works with the configuration of a newer process. */
async function socketOfConfig(file: string): Promise<ListenAddress> {
  const { parse } = await import('../runtime/yaml.ts');
  const document: unknown = parse(await readConfig(file));
  const address = field(field(document, 'listen'), 'admin');
  if (typeof address !== 'string') {
    throw new IdentityError('invalid_argument', `${file} has no listen.admin; name the socket with --socket PATH`);
  }
  return parseListenAddress(address, dirname(file));
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('invalid_argument', `--config: cannot read the configuration file (${why})`, { cause });
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
