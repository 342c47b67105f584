import * as decoders from '../../core/decode.ts';
import { resourceMeta } from './resource-meta.ts';
import type { ResourceMeta } from './resource-meta.ts';
import { object, optional, required } from './collections.ts';
import type { Schema } from './schema.ts';

/** How the API server calls a kind. */
export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

/** An object of a kind: what is used of its metadata, and its specification. */
export interface Resource<S> {
  readonly meta: ResourceMeta;
  readonly spec: S;
}

/** A column of `kubectl get`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly jsonPath: string;
  readonly description?: string;
  /** 1: only with `-o wide`. */
  readonly priority?: number;
}

/** All that there is to say about a kind of ours: its CustomResourceDefinition and its reference page are written from this. */
export interface ResourceDefinition<S> {
  readonly type: ResourceType;
  readonly shortNames: readonly string[];
  readonly description: string;
  readonly spec: Schema<S>;
  readonly status: Schema<unknown>;
  readonly columns: readonly PrinterColumn[];
  /** YAML, shown in the reference and admitted by a test. */
  readonly example: string;
}

/** Reads objects of one kind. */
export type Parser<T> = (object: unknown) => T;

/**
 * A parser of a kind's objects. What it refuses is a DecodeError (`invalid_argument`) that names every faulty field, such as
 * `spec.podSelector.matchExpressions[0].values`. `status` is not looked at.
 */
export function parserOf<S>(type: ResourceType, spec: Schema<S>): Parser<Resource<S>> {
  const whole = object({
    apiVersion: optional('', { openApi: {}, decoder: decoders.literal(`${type.group}/${type.version}`) }),
    kind: optional('', { openApi: {}, decoder: decoders.literal(type.kind) }),
    metadata: required('', resourceMeta),
    spec: required('', spec),
    status: optional('', { openApi: {}, decoder: ANYTHING }),
  });
  const placed = decoders.refine(whole.decoder, ({ metadata }) =>
    type.namespaced && metadata.namespace === '' ? [{ path: 'metadata.namespace', message: 'must name the namespace' }] : [],
  );
  return (input) => {
    const { metadata, spec } = decoders.decode(placed, input);
    return { meta: type.namespaced ? metadata : { ...metadata, namespace: '' }, spec };
  };
}

const ANYTHING: decoders.Decoder<unknown> = { read: (input) => input };
