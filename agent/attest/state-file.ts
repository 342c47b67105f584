import { dirname, join } from 'node:path';

import { array, boolean, decode, literal, map, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { openDir, readPrivateFile, writePrivateFile } from '../../runtime/private-file.ts';
import { formatBundleDocument, parseBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { createAgentSvid, type AgentSvid } from './agent-svid.ts';

/** What an agent keeps over a restart. */
export interface AgentState {
  readonly bundle: Bundle;
  /** Absent after the CA took it away, or when keys are kept in memory only. */
  readonly svid: AgentSvid | undefined;
}

/** How {@link StateFile} is made. */
export interface StateFileOptions {
  readonly dataDir: string;
  readonly trustDomain: TrustDomain;
  /** Whether the private key may be written; without it a restart has to attest anew. */
  readonly keepsKey: boolean;
}

const base64 = map(string(), (text) => new Uint8Array(Buffer.from(text, 'base64')));
const STATE = object({
  version: literal('1'),
  trustDomain: string(),
  bundle: string(),
  svid: optional(object({ chain: array(base64), privateKey: base64, reattestable: boolean })),
});

/**
 * The agent's state in one file, so that certificate and key can never be of different age. It is readable by the agent alone
 * (0600) and replaced atomically: whenever the agent is killed, the old or the new state is there, whole.
 */
export class StateFile {
  readonly #options: StateFileOptions;
  readonly #path: string;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: StateFileOptions) {
    this.#options = options;
    this.#path = join(options.dataDir, 'agent.json');
  }

  /**
   * The state that was saved last; undefined when there is none.
   *
   * @throws IdentityError `failed_precondition` when there is one that cannot be used
   */
  async load(): Promise<AgentState | undefined> {
    const text = await readPrivateFile(this.#path);
    if (text === undefined) return undefined;
    try {
      return this.#parse(text);
    } catch (cause) {
      const hint = `the saved state ${this.#path} cannot be used; remove it to attest anew`;
      throw new IdentityError('failed_precondition', hint, { cause });
    }
  }

  #parse(text: string): AgentState {
    const { trustDomain } = this.#options;
    const stored = decode(STATE, parseJson(text));
    if (stored.trustDomain !== trustDomain.name) {
      throw new IdentityError('invalid_argument', `it is of trust domain ${stored.trustDomain}`);
    }
    const bundle = parseBundleDocument(stored.bundle, trustDomain);
    if (stored.svid === undefined) return { bundle, svid: undefined };
    const { chain, privateKey, reattestable } = stored.svid;
    return { bundle, svid: createAgentSvid({ chainDer: chain, privateKeyPkcs8Der: privateKey, reattestable }) };
  }

  /** Replaces the saved state; calls are done one after the other. */
  save(state: AgentState): Promise<void> {
    const text = this.#format(state);
    const done = this.#writing.then(() => this.#replace(text));
    this.#writing = done.catch(() => {});
    return done;
  }

  /** Settles when everything that was to be saved is. */
  settled(): Promise<void> {
    return this.#writing;
  }

  // The folder is made each time: somebody may have removed it under a running agent.
  async #replace(text: string): Promise<void> {
    await openDir(dirname(this.#path));
    await writePrivateFile(this.#path, text);
  }

  #format({ bundle, svid }: AgentState): string {
    const keeps = svid !== undefined && this.#options.keepsKey;
    return JSON.stringify({
      version: '1',
      trustDomain: this.#options.trustDomain.name,
      bundle: formatBundleDocument(bundle),
      ...(keeps ? { svid: formatSvid(svid) } : {}),
    });
  }
}

function formatSvid({ chainDer, privateKeyPkcs8Der, reattestable }: AgentSvid): object {
  const chain = chainDer.map((der) => Buffer.from(der).toString('base64'));
  return { chain, privateKey: Buffer.from(privateKeyPkcs8Der).toString('base64'), reattestable };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The cause is left out: it quotes the text, which holds the key.
    throw new IdentityError('invalid_argument', 'it is no JSON');
  }
}
