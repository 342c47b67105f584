import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';

/**
 * How an Envoy verifies its peers: by its SPIFFE validator, which takes each trust domain's own authorities for that domain's
 * IDs, or by a plain list of authorities, which takes each for every ID.
 */
export type Validator = 'spiffe' | 'authorities';

const DISABLE_KEY = 'disable_spiffe_cert_validation';

/**
 * The validator for an Envoy, as SPIRE chooses it: the SPIFFE validator, unless the node's metadata (or else the agent's
 * configuration) turns it off or the Envoy says that it is 1.17 or older.
 */
export function validatorFor(node: Node | undefined, disabledByDefault: boolean): Validator {
  const disabled = readBoolean(node?.metadata?.[DISABLE_KEY]) ?? disabledByDefault;
  return disabled || !supportsSpiffeValidator(node) ? 'authorities' : 'spiffe';
}

function supportsSpiffeValidator(node: Node | undefined): boolean {
  if (node?.userAgentVersionType.case !== 'userAgentBuildVersion') return true;
  const { majorNumber, minorNumber } = node.userAgentVersionType.value.version ?? { majorNumber: 0, minorNumber: 0 };
  return majorNumber > 1 || (majorNumber === 1 && minorNumber > 17);
}

// The words that SPIRE takes for a boolean; anything else counts as not given.
const WORDS = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false] as const),
]);

function readBoolean(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  return typeof value === 'string' ? WORDS.get(value) : undefined;
}
