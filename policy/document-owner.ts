/** What says in a document that a controller put it at the CA, and which one: the others leave it alone, and the CA sees to that. */
export const OWNER_LABEL = 'countersign.dev/controller';

/**
 * The controller that put a document of `countersign.policy.v1` at the CA, by its `entryIdPrefix` without the dot; undefined for a
 * document that somebody else put there, and for what cannot be read.
 */
export function ownerOfDocument(document: string): string | undefined {
  try {
    const owner: unknown = JSON.parse(document)?.resource?.metadata?.labels?.[OWNER_LABEL];
    return typeof owner === 'string' ? owner : undefined;
  } catch {
    return undefined;
  }
}
