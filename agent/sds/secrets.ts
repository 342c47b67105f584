import { createHash } from 'node:crypto';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { IdentityError } from '../../core/errors.ts';
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType,
  SubjectAltNameMatcherSchema,
} from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { SecretSchema } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { SPIFFECertValidatorConfigSchema } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/pem.ts';
import type { WorkloadIdentities, X509Identity } from '../cache/identities.ts';
import { policyOf, type PolicyInForce, type ProxyState } from '../envoy/proxy-policy.ts';
import { matcherOf } from '../envoy/rbac/encode.ts';
import { parseResourceName } from '../envoy/resource-name.ts';
import { type Callers, whoMayConnect } from '../envoy/who-may-connect.ts';
import type { DiscoveryClient, DiscoveryResource, DiscoveryResources } from '../xds/resources.ts';
import type { SdsConfig } from './config.ts';
import { type Validator, validatorFor } from './validator.ts';

type SecretType = NonNullable<MessageInitShape<typeof SecretSchema>['type']>;

/** What a secret says; its version is made from certificates only, never from a key: Envoy shows it to its operators. */
type Content = { readonly version: string; readonly type: SecretType };

/** Name of the validation context that lets in who may connect, by the policies of the workload. */
export const INBOUND = 'countersign.dev/inbound';

// A list without entries would let in everybody; no certificate names this.
const NOBODY: Callers = [{ exact: 'nobody' }];

/**
 * Finds the secrets of one workload by the names that SPIRE's agent knows: the default SVID, a SPIFFE ID, the default bundle,
 * a trust domain ID, and all bundles; and by {@link INBOUND}. What is made for one identity or bundle is kept as long as that lives.
 */
export class Secrets implements DiscoveryResources<ProxyState> {
  readonly typeUrl = `type.googleapis.com/${SecretSchema.typeName}`;
  readonly noun = 'secrets';
  readonly #names: SdsConfig;
  readonly #inForce: PolicyInForce | undefined;
  readonly #certificates = new WeakMap<X509Identity, Content>();
  readonly #authorities = new WeakMap<Bundle, string>();

  /** @param inForce without it there is no {@link INBOUND} */
  constructor(names: SdsConfig, inForce?: PolicyInForce) {
    this.#names = names;
    this.#inForce = inForce;
  }

  /** All that a workload is entitled to: every bundle and every identity, by ID. */
  all(state: ProxyState, client: DiscoveryClient): readonly DiscoveryResource[] {
    const workload = state.identities;
    const domains = [workload.bundle, ...workload.federatedBundles.values()].map(({ trustDomain }) => trustDomain.idString);
    const names = new Set([...domains, ...workload.identities.map(({ spiffeId }) => spiffeId.toString())]);
    return [...names].flatMap((name) => this.find(name, state, client) ?? []);
  }

  /**
   * The secret of a name; undefined when the workload is not entitled to one.
   *
   * @throws IdentityError `failed_precondition` for all bundles on an Envoy that cannot keep their trust domains apart
   */
  find(name: string, state: ProxyState, { node }: DiscoveryClient): DiscoveryResource | undefined {
    const validator = validatorFor(node, this.#names.disableSpiffeCertValidation);
    const { identities: workload } = state;
    const content =
      this.#validation(name, workload, validator) ?? this.#certificate(name, workload) ?? this.#inbound(name, state, validator);
    if (content === undefined) return undefined;
    const body = anyPack(SecretSchema, create(SecretSchema, { name, type: content.type }));
    return { name, version: content.version, body };
  }

  isPending({ identities }: ProxyState): boolean {
    return identities.pending > 0;
  }

  #validation(name: string, workload: WorkloadIdentities, validator: Validator): Content | undefined {
    const { bundle, federatedBundles } = workload;
    if (name === bundle.trustDomain.idString || name === this.#names.defaultBundleName) return this.#trust([bundle], validator);
    if (name === this.#names.defaultAllBundlesName) {
      requireSpiffeValidator(name, validator);
      return this.#trust([bundle, ...federatedBundles.values()], validator);
    }
    const federated = [...federatedBundles.values()].find(({ trustDomain }) => trustDomain.idString === name);
    return federated && this.#trust([federated], validator);
  }

  /** The bundles that the workload trusts, for those callers that its policies could let in. */
  #inbound(name: string, { asking, identities }: ProxyState, validator: Validator): Content | undefined {
    if (this.#inForce === undefined || !name.startsWith(INBOUND)) return undefined;
    const { base, id } = parseResourceName(name);
    if (base !== INBOUND) return undefined;
    const { bundle, federatedBundles } = identities;
    const bundles = validator === 'spiffe' ? [bundle, ...federatedBundles.values()] : [bundle];
    const callers = whoMayConnect(policyOf(asking, id, this.#inForce));
    return this.#trust(bundles, validator, callers.length === 0 ? NOBODY : callers);
  }

  #trust(bundles: readonly Bundle[], validator: Validator, callers: Callers = 'anybody'): Content | undefined {
    // An Envoy that is given no authority verifies nothing, so a bundle without any is as good as none.
    const trusted = bundles.filter(({ x509Authorities }) => x509Authorities.length > 0);
    if (trusted.length === 0) return undefined;
    const domains = trusted
      .map((bundle) => ({ name: bundle.trustDomain.name, pem: this.#authoritiesOf(bundle) }))
      .sort((one, other) => (one.name < other.name ? -1 : 1));
    const names = callers === 'anybody' ? [] : [JSON.stringify(callers)];
    const version = digest(validator, ...domains.flatMap(({ name, pem }) => [name, pem]), ...names);
    const value = validator === 'spiffe' ? spiffeContext(domains) : plainContext(domains);
    return { version, type: { case: 'validationContext', value: restricted(value, callers) } };
  }

  #certificate(name: string, { identities }: WorkloadIdentities): Content | undefined {
    const byId = identities.find(({ spiffeId }) => spiffeId.toString() === name);
    const identity = byId ?? (name === this.#names.defaultSvidName ? identities[0] : undefined);
    if (identity === undefined) return undefined;
    let content = this.#certificates.get(identity);
    if (content === undefined) this.#certificates.set(identity, (content = certificateOf(identity)));
    return content;
  }

  #authoritiesOf(bundle: Bundle): string {
    let pem = this.#authorities.get(bundle);
    if (pem === undefined) {
      pem = bundle.x509Authorities.map(({ der }) => encodePem('CERTIFICATE', der)).join('');
      this.#authorities.set(bundle, pem);
    }
    return pem;
  }
}

function certificateOf({ certificatesDer, privateKeyPkcs8Der }: X509Identity): Content {
  const chain = certificatesDer.map((der) => encodePem('CERTIFICATE', der)).join('');
  const value = { certificateChain: inline(chain), privateKey: inline(encodePem('PRIVATE KEY', privateKeyPkcs8Der)) };
  return { version: digest(chain), type: { case: 'tlsCertificate', value } };
}

interface TrustedDomain {
  readonly name: string;
  readonly pem: string;
}

function spiffeContext(domains: readonly TrustedDomain[]) {
  const trustDomains = domains.map(({ name, pem }) => ({ name, trustBundle: inline(pem) }));
  const config = create(SPIFFECertValidatorConfigSchema, { trustDomains });
  const typedConfig = anyPack(SPIFFECertValidatorConfigSchema, config);
  return create(CertificateValidationContextSchema, {
    customValidatorConfig: { name: 'envoy.tls.cert_validator.spiffe', typedConfig },
  });
}

function plainContext(domains: readonly TrustedDomain[]) {
  return create(CertificateValidationContextSchema, { trustedCa: inline(domains.map(({ pem }) => pem).join('')) });
}

function restricted(context: CertificateValidationContext, callers: Callers): CertificateValidationContext {
  if (callers === 'anybody') return context;
  const matchTypedSubjectAltNames = callers.map((text) =>
    create(SubjectAltNameMatcherSchema, { sanType: SubjectAltNameMatcher_SanType.URI, matcher: matcherOf(text) }),
  );
  return { ...context, matchTypedSubjectAltNames };
}

function inline(pem: string) {
  return { specifier: { case: 'inlineBytes', value: new Uint8Array(Buffer.from(pem)) } } as const;
}

// In one plain list the authorities of each trust domain would vouch for the IDs of every other.
function requireSpiffeValidator(name: string, validator: Validator): void {
  if (validator === 'spiffe') return;
  throw new IdentityError(
    'failed_precondition',
    `"${name}" needs the SPIFFE validator of Envoy 1.18 or newer, which is turned off or not there`,
  );
}

function digest(...parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 32);
}
