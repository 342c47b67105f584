import * as decoders from '../../core/decode.ts';
import { object, optional, required } from './collections.ts';
import { map } from './collections.ts';
import { text, timestamp } from './scalars.ts';
import { converted } from './schema.ts';
import type { Schema, ValueOf } from './schema.ts';

/** What is used of an object's `metadata`. */
export interface ResourceMeta {
  readonly name: string;
  /** Empty for a cluster-scoped object. */
  readonly namespace: string;
  /** Empty for an object that no API server has stored. */
  readonly uid: string;
  /** Counts the changes of `spec`; 0 for an object that no API server has stored. */
  readonly generation: number;
  /** 0 for an object that no API server has stored. */
  readonly createdAtMs: number;
  /** Whether it is on its way out and waits for finalizers. */
  readonly deleting: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const anyText = text({ allowEmpty: true });

const written = object(
  {
    name: required('Name of the object.', text({})),
    namespace: optional('Namespace of the object.', anyText, ''),
    uid: optional('UID of the object.', anyText, ''),
    generation: optional('Changes of the specification so far.', { openApi: {}, decoder: decoders.integer({ min: 0 }) }, 0),
    creationTimestamp: optional('When it was made.', timestamp),
    deletionTimestamp: optional('When its deletion was asked for.', timestamp),
    labels: optional('Labels.', map(anyText), {}),
    annotations: optional('Annotations.', map(anyText), {}),
  },
  { unknownFields: 'ignored' },
);

/** Metadata of an object. Further fields of it are of no concern. */
export const resourceMeta: Schema<ResourceMeta> = converted(written, metaOf);

function metaOf({ creationTimestamp, deletionTimestamp, ...same }: ValueOf<typeof written>): ResourceMeta {
  return {
    ...same,
    createdAtMs: creationTimestamp === undefined ? 0 : Date.parse(creationTimestamp),
    deleting: deletionTimestamp !== undefined,
  };
}
