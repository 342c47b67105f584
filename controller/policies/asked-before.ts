import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { consequencesIn } from '../admission/consequences.ts';
import type { PolicyWrite } from './policy-changes.ts';
import type { PolicyClient } from './policy-client.ts';
import type { PolicyIndex } from './policy-index.ts';
import { mayRefuse, REFUSE_ANNOTATION, TOKENS_UNKNOWN } from './refuse-annotation.ts';

/** What {@link AskedBefore} asks. */
export interface AskedBeforeOptions {
  readonly index: Pick<PolicyIndex, 'object'>;
  readonly client: Pick<PolicyClient, 'simulate'>;
}

const TIMEOUT_MS = 30_000;

/**
 * Stands in for the webhook where resources come from files, which no API server asks about: an annotated object that would deny
 * recorded calls, or may, is not put in force. What the CA has under its name stays.
 */
export class AskedBefore {
  readonly #options: AskedBeforeOptions;

  constructor(options: AskedBeforeOptions) {
    this.#options = options;
  }

  /**
   * Which of some writes are refused, by key, and why. What is written together is judged together first: policies that allow each
   * other's calls need not be declared in some order.
   *
   * @throws IdentityError `unavailable` when the CA cannot be asked, nor written to
   */
  async refusals(writes: readonly PolicyWrite[], signal: AbortSignal): Promise<ReadonlyMap<string, IdentityError>> {
    const asking = writes.filter(({ key }) => this.#isAsking(key));
    if (asking.length === 0) return new Map();
    const refused = asking.filter(({ name }) => name.kind === 'RequestAuthentication');
    const judged = asking.filter(({ name }) => name.kind !== 'RequestAuthentication');
    const found = new Map(refused.map(({ key }) => [key, refusal([TOKENS_UNKNOWN])]));
    if (judged.length === 0 || (await this.#judge(writes, signal)) === undefined) return found;
    for (const write of judged) {
      const error = await this.#judge([write], signal);
      if (error !== undefined) found.set(write.key, error);
    }
    return found;
  }

  #isAsking(key: string): boolean {
    const object = this.#options.index.object(key);
    if (object === undefined || !mayRefuse(object)) return false;
    return object.policy !== undefined || object.authentication.tokens === 'Required';
  }

  async #judge(writes: readonly PolicyWrite[], signal: AbortSignal): Promise<IdentityError | undefined> {
    const [first] = writes;
    if (first === undefined) return undefined;
    const set = writes.map(({ name, document }) => ({ name, document }));
    try {
      const response = await this.#options.client.simulate(
        { set, deleted: [], countsDryRun: false },
        { signal, timeoutMs: TIMEOUT_MS },
      );
      if (response.harmless) return undefined;
      return refusal(consequencesIn(response, { name: first.name, isDry: false, isDeletion: false }));
    } catch (error) {
      if (!isIdentityError(error) || error.code === 'unavailable') throw error;
      return refusal([`what it does to recorded calls is not known: ${error.message}`]);
    }
  }
}

function refusal(texts: readonly string[]): IdentityError {
  return new IdentityError('failed_precondition', `refused, as ${REFUSE_ANNOTATION} asks: ${texts.join('; ')}`);
}
