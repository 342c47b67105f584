import { decode, map, object, optional, record, string } from '../../core/decode.ts';
import type { Decoder } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { parsePolicy } from '../parse-policy.ts';
import type { Loss } from './losses.ts';

/** Whatever stands there; nobody has looked at it yet. */
export const anything: Decoder<unknown> = { read: (input) => input ?? undefined };

/** A foreign resource of Kubernetes, its `spec` as it stands. */
export interface ForeignResource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, unknown>>;
  readonly spec: unknown;
}

const shape = object({
  apiVersion: string(),
  kind: string(),
  metadata: map(record(anything), ({ name, namespace = 'default', labels }) => {
    if (typeof name === 'string' && typeof namespace === 'string') return { name, namespace, labels: Object(labels) };
    throw new IdentityError('invalid_argument', 'must name the resource');
  }),
  spec: anything,
});

const ofAnyShape = optional(record(anything), {});

/** Reads a document of a Kubernetes resource. Undefined where it is none. @throws DecodeError for one without a name */
export function foreignResource(document: object): ForeignResource | undefined {
  const { apiVersion, kind, metadata, spec } = decode(ofAnyShape, document);
  if (apiVersion === undefined || kind === undefined) return undefined;
  const read = decode(shape, { apiVersion, kind, metadata, spec });
  return { ...read, ...read.metadata };
}

/** As it is called in a report: `Server shop/orders`. */
export function titleOf({ kind, namespace, name }: Pick<ForeignResource, 'kind' | 'namespace' | 'name'>): string {
  return `${kind} ${namespace}/${name}`;
}

/** Reads the fields of a resource. @throws IdentityError `invalid_argument` that names the resource and the field */
export function readSpec<T>(decoder: Decoder<T>, resource: ForeignResource): T {
  return naming(titleOf(resource), () => decode(decoder, resource.spec));
}

/** Runs a step; what is wrong in it is said of `title`. */
export function naming<T>(title: string, step: () => T): T {
  try {
    return step();
  } catch (cause) {
    if (!(cause instanceof IdentityError)) throw cause;
    throw new IdentityError('invalid_argument', `${title}:\n${cause.message}`, { cause });
  }
}

/** Whatever comes out is what our own parser reads. */
export function checkedPolicy(title: string, resource: object): object {
  naming(title, () => parsePolicy(resource));
  return resource;
}

/** Notes what is lost of one resource. */
export type Lose = (field: string, effect: Loss['effect'], why: string) => void;

/** Collects what is lost, each once. */
export class LossReport {
  readonly #losses = new Map<string, Loss>();

  get losses(): readonly Loss[] {
    return [...this.#losses.values()];
  }

  of(resource: string): Lose {
    return (field, effect, why) =>
      void this.#losses.set([resource, field, effect, why].join('\n'), { resource, field, effect, why });
  }
}
