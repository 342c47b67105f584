/** One registered entry of a pod, as the signer needs it. */
export interface PodEntry {
  readonly entryId: string;
  readonly spiffeId: string;
  /** As `type:value`, such as `k8s:pod-uid:…`. */
  readonly selectors: readonly string[];
  /** 0: the CA's default. */
  readonly x509SvidTtlSeconds: number;
  /** When the entry was made, in milliseconds; the oldest one is the pod's certificate. */
  readonly createdAtMs: number;
}

/** The entries that this controller keeps for pods, as far as the CA has acknowledged them. */
export interface PodEntries {
  /** Those with the selector `k8s:pod-uid:<podUid>`, in no particular order. */
  registeredFor(podUid: string): readonly PodEntry[];
  /** Why a pod has none, in words for its owner, such as which template failed; undefined when nothing selects it. */
  whyNone(podUid: string): string | undefined;
  /** Calls the listener with the UID of each pod whose entries changed. Returns the function that ends it. */
  subscribe(listener: (podUid: string) => void): () => void;
}
