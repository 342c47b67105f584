// Open Policy Agent as a peer: the same rules in Rego, found by destination, served over a unix socket.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { sleep, systemClock } from '../../core/clock.ts';
import { goTool } from '../support/toolchain.ts';

const OPA = 'github.com/open-policy-agent/opa@v1.22.2';

/** One rule, as it is written in both systems. */
export interface ComparedRule {
  readonly destination: string;
  readonly action: 'ALLOW' | 'DENY';
  /** SPIFFE ID; `*` stands for any characters of one segment. */
  readonly caller: string;
  readonly methods: readonly string[];
  /** In each, `*` stands for one segment. */
  readonly paths: readonly string[];
}

// Rules lie by destination, so that only those of the one that is asked for are looked at. A rule of DENY that matches decides.
const REGO = `
package countersign

import rego.v1

default allow := false

allow if {
	not denied
	some rule in data.rules[input.destination].ALLOW
	matches(rule)
}

denied if {
	some rule in data.rules[input.destination].DENY
	matches(rule)
}

matches(rule) if {
	input.method in rule.methods
	glob.match(rule.caller, ["/"], input.source)
	some path in rule.paths
	glob.match(path, ["/"], input.path)
}
`;

/** A running server. */
export interface Opa extends AsyncDisposable {
  readonly pid: number;
  readonly socket: string;
}

/** Starts it with the rules; resolves when it answers. */
export async function startOpa(folder: string, rules: readonly ComparedRule[]): Promise<Opa> {
  const program = await goTool(OPA);
  const socket = join(folder, 'opa.sock');
  const byDestination = Map.groupBy(rules, ({ destination }) => destination);
  const data = Object.fromEntries([...byDestination].map(([name, own]) => [name, Object.groupBy(own, ({ action }) => action)]));
  writeFileSync(join(folder, 'countersign.rego'), REGO);
  writeFileSync(join(folder, 'data.json'), JSON.stringify({ rules: data }));
  const args = ['run', '--server', '--log-level', 'error', '--skip-version-check', '--addr', `unix://${socket}`];
  const child = spawn(program, [...args, join(folder, 'countersign.rego'), join(folder, 'data.json')], { stdio: 'inherit' });
  for (let attempt = 0; attempt < 500 && !existsSync(socket) && child.exitCode === null; attempt += 1)
    await sleep(systemClock, 20);
  if (!existsSync(socket)) throw new Error('OPA does not listen');
  return {
    pid: child.pid ?? 0,
    socket,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}
