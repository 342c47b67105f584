import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AuthorizationSettingsSchema } from '../proto/gen/countersign/node/v1/node_pb.ts';
import type { CaConfig } from './config.ts';
import { exchangeJwks } from './exchange/exchange-keys.ts';
import type { PublishedAuthorities } from './exchange/exchange-keys.ts';
import { authorizationServerMetadata } from './exchange/metadata.ts';

/** What agents are told of authorization in all of the trust domain. */
export type Settings = MessageInitShape<typeof AuthorizationSettingsSchema>;

/** The settings as they are now. While they are the same, they are the same object. */
export interface SettingsSource {
  readonly value: Settings;
}

/** The registry, whose bundle is another object after each change of an authority. */
export type PublishedBundle = PublishedAuthorities & { readonly bundle: { readonly value: object } };

/** Settings of the configuration, with the keys of the token exchange of all replicas. */
export class AuthorizationSettings implements SettingsSource {
  readonly #registry: PublishedBundle;
  readonly #fixed: Settings;
  #madeOf: object | undefined;
  #jwks = '';
  #value: Settings;

  constructor(config: CaConfig, registry: PublishedBundle) {
    this.#registry = registry;
    this.#fixed = configuredSettings(config);
    this.#value = this.#fixed;
  }

  get value(): Settings {
    const bundle = this.#registry.bundle.value;
    if (this.#fixed.exchangeIssuer === undefined || bundle === this.#madeOf) return this.#value;
    this.#madeOf = bundle;
    const jwks = exchangeJwks(this.#registry);
    if (jwks === this.#jwks) return this.#value;
    this.#jwks = jwks;
    this.#value = { ...this.#fixed, exchangeJwks: Buffer.from(jwks) };
    return this.#value;
  }
}

function configuredSettings({ authorization, tokenExchange, listen }: CaConfig): Settings {
  const defaultAction = authorization.default;
  if (tokenExchange === undefined || listen.token === undefined) return { defaultAction };
  const { issuer } = tokenExchange;
  return { defaultAction, exchangeIssuer: issuer, exchangeJwksUri: authorizationServerMetadata(issuer).jwks_uri };
}
