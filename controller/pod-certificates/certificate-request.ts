import { array, decode, integer, object, optional, record, string } from '../../core/decode.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';

/** What a kubelet asks for (`certificates.k8s.io` PodCertificateRequest, v1 and v1beta1). */
export interface CertificateRequest {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly podName: string;
  readonly podUid: string;
  readonly serviceAccountName: string;
  readonly serviceAccountUid: string;
  readonly nodeName: string;
  readonly nodeUid: string;
  /** Longest lifetime of the certificate, from `notBefore` to `notAfter`. */
  readonly maxExpirationSeconds: number;
  /** A CSR, DER; what kubelets since 1.36 send. */
  readonly stubPkcs10Request: Uint8Array | undefined;
  /** A SubjectPublicKeyInfo, DER; what the kubelet of 1.35 sends. */
  readonly pkixPublicKey: Uint8Array | undefined;
  /** A signature over the pod's UID, beside {@link pkixPublicKey}. */
  readonly proofOfPossession: Uint8Array | undefined;
  /** From the pod's volume; nobody has verified them. */
  readonly annotations: Readonly<Record<string, string>>;
  /** It has ended: issued, denied or failed. */
  readonly settled: boolean;
}

const text = optional(string({ allowEmpty: true }), '');

const FIELDS = {
  signerName: string(),
  podName: string(),
  podUID: string(),
  serviceAccountName: string(),
  serviceAccountUID: string(),
  nodeName: string(),
  nodeUID: string(),
  maxExpirationSeconds: optional(integer({ min: 1 }), 86_400),
  stubPKCS10Request: text,
  pkixPublicKey: text,
  proofOfPossession: text,
  unverifiedUserAnnotations: optional(record(string({ allowEmpty: true })), {}),
};
const SPEC = object(FIELDS);

const CONDITIONS = optional(array(record({ read: (input) => input })), []);

/** Conditions that end a request. */
const FINAL: ReadonlySet<unknown> = new Set(['Issued', 'Denied', 'Failed']);

/**
 * Reads a PodCertificateRequest. Fields that a later version of the API adds are passed over, as its conventions have it.
 *
 * @throws DecodeError that names every faulty field
 */
export function parseCertificateRequest({ metadata, spec, status }: KubeObject): CertificateRequest {
  const read = decode(SPEC, isRecord(spec) ? known(spec) : spec);
  const conditions = decode(CONDITIONS, isRecord(status) ? status['conditions'] : undefined);
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
    podName: read.podName,
    podUid: read.podUID,
    serviceAccountName: read.serviceAccountName,
    serviceAccountUid: read.serviceAccountUID,
    nodeName: read.nodeName,
    nodeUid: read.nodeUID,
    maxExpirationSeconds: read.maxExpirationSeconds,
    stubPkcs10Request: bytesOf(read.stubPKCS10Request),
    pkixPublicKey: bytesOf(read.pkixPublicKey),
    proofOfPossession: bytesOf(read.proofOfPossession),
    annotations: read.unverifiedUserAnnotations,
    settled: conditions.some(({ type, status: value }) => FINAL.has(type) && value === 'True'),
  };
}

function known(spec: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(spec).filter(([name]) => Object.hasOwn(FIELDS, name)));
}

function bytesOf(base64: string): Uint8Array | undefined {
  return base64 === '' ? undefined : new Uint8Array(Buffer.from(base64, 'base64'));
}
