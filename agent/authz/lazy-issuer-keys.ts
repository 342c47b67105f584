import type { IssuerKey, KeySource, TokenIssuer } from '../../policy/users/token-issuer.ts';
import type { Registry } from '../../runtime/metrics.ts';
import type { IssuerKeys, IssuerKeysOptions } from '../../runtime/oidc/issuer-keys.ts';

/** Keys of issuers whose library is loaded when the first token comes: most agents see none. */
export class LazyIssuerKeys implements KeySource, AsyncDisposable {
  readonly #options: Omit<IssuerKeysOptions, 'metrics'>;
  #keys: Promise<IssuerKeys> | undefined;
  #metrics: Registry | undefined;

  constructor(options: Omit<IssuerKeysOptions, 'metrics'>) {
    this.#options = options;
  }

  /** Counts fetches there, of keys that are fetched from now on. */
  registerMetrics(metrics: Registry): void {
    this.#metrics = metrics;
  }

  async keysOf(issuer: Pick<TokenIssuer, 'issuer' | 'jwksUri'>, keyId: string | undefined): Promise<readonly IssuerKey[]> {
    this.#keys ??= this.#load();
    return (await this.#keys).keysOf(issuer, keyId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#keys)?.[Symbol.asyncDispose]();
  }

  async #load(): Promise<IssuerKeys> {
    const { IssuerKeys: Keys } = await import('../../runtime/oidc/issuer-keys.ts');
    return new Keys({ ...this.#options, metrics: this.#metrics });
  }
}
