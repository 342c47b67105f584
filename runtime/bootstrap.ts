/** Where a process reads the bundle that it trusts before it has heard from the CA. */
export type Bootstrap =
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'url'; readonly url: URL; readonly sha256Hex: string | undefined }
  /** Read from the Kubernetes API; waited for until it exists. */
  | { readonly kind: 'configMap'; readonly namespace: string; readonly name: string; readonly key: string }
  /** Whoever answers is trusted. */
  | { readonly kind: 'insecure' };
