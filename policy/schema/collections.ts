import * as decoders from '../../core/decode.ts';
import type { Decoder } from '../../core/decode.ts';
import type { OpenApiSchema, Schema } from './schema.ts';

/** A field of an object: its schema, what it is for, and what it is when it is absent. */
export interface Field<T> {
  readonly openApi: OpenApiSchema;
  readonly decoder: Decoder<T>;
  readonly required: boolean;
}

/** A field that must be there. */
export function required<T>(description: string, { openApi, decoder }: Schema<T>): Field<T> {
  return { openApi: { description, ...openApi }, decoder, required: true };
}

/** A field that may be absent, and is then `fallback`. The API server writes it in when it is a truth value, a number or text. */
export function optional<T>(description: string, schema: Schema<T>): Field<T | undefined>;
export function optional<T>(description: string, schema: Schema<T>, fallback: T): Field<T>;
export function optional<T>(description: string, { openApi, decoder }: Schema<T>, fallback?: T): Field<T | undefined> {
  const written =
    typeof fallback === 'boolean' || typeof fallback === 'number' || (typeof fallback === 'string' && fallback !== '');
  return {
    openApi: { description, ...openApi, ...(written ? { default: fallback } : {}) },
    decoder: decoders.optional<T | undefined>(decoder, fallback),
    required: false,
  };
}

type Fields = Readonly<Record<string, Field<unknown>>>;
type ValueOfFields<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** An object with exactly these fields. `unknownFields: 'ignored'` reads objects of kinds that others define and may extend. */
export function object<const F extends Fields>(
  fields: F,
  { unknownFields = 'refused' }: { readonly unknownFields?: 'refused' | 'ignored' } = {},
): Schema<ValueOfFields<F>> {
  const entries = Object.entries(fields);
  const required = entries.filter(([, field]) => field.required).map(([key]) => key);
  const strict = decoders.object(Object.fromEntries(entries.map(([key, { decoder }]) => [key, decoder])));
  const decoder = unknownFields === 'refused' ? strict : picking(Object.keys(fields), strict);
  return {
    openApi: {
      type: 'object',
      ...(required.length === 0 ? {} : { required }),
      properties: Object.fromEntries(entries.map(([key, { openApi }]) => [key, openApi])),
    },
    // The cast is sound: the decoder was made of the decoders of these very fields.
    decoder: decoder as Decoder<ValueOfFields<F>>,
  };
}

function picking<T>(keys: readonly string[], inner: Decoder<T>): Decoder<T> {
  return {
    read(input, path, faults) {
      if (typeof input !== 'object' || input === null || Array.isArray(input)) return inner.read(input, path, faults);
      const known = Object.entries(input).filter(([key]) => keys.includes(key));
      return inner.read(Object.fromEntries(known), path, faults);
    },
  };
}

/** How long a list may be, and what it is for server-side apply. */
export interface ListOptions {
  readonly minItems?: number;
  readonly maxItems?: number;
  /** `set`: no item occurs twice, and appliers own items rather than the list. */
  readonly kind?: 'atomic' | 'set';
  /** Items are objects and this field tells them apart. */
  readonly keyedBy?: string;
}

/** A list. */
export function list<T>(item: Schema<T>, options: ListOptions = {}): Schema<readonly T[]> {
  const { minItems = 0, maxItems = Infinity, kind = 'atomic', keyedBy } = options;
  return {
    openApi: {
      type: 'array',
      ...(minItems === 0 ? {} : { minItems }),
      ...(maxItems === Infinity ? {} : { maxItems }),
      'x-kubernetes-list-type': keyedBy === undefined ? kind : 'map',
      ...(keyedBy === undefined ? {} : { 'x-kubernetes-list-map-keys': [keyedBy] }),
      items: item.openApi,
    },
    decoder: decoders.refine(decoders.array(item.decoder), (values) => [
      ...(values.length < minItems ? [{ path: '', message: `must have at least ${minItems} of them` }] : []),
      ...(values.length > maxItems ? [{ path: '', message: `must not have more than ${maxItems} of them` }] : []),
      ...(kind === 'set' ? repeated(values) : []),
    ]),
  };
}

function repeated(values: readonly unknown[]): decoders.Fault[] {
  const texts = values.map((value) => JSON.stringify(value));
  return texts.flatMap((text, index) =>
    texts.indexOf(text) < index ? [{ path: `[${index}]`, message: 'is there already' }] : [],
  );
}

/** A mapping from any key to values of one kind. */
export function map<T>(value: Schema<T>, { maxProperties = Infinity } = {}): Schema<Readonly<Record<string, T>>> {
  return {
    openApi: {
      type: 'object',
      ...(maxProperties === Infinity ? {} : { maxProperties }),
      additionalProperties: value.openApi,
    },
    decoder: decoders.refine(decoders.record(value.decoder), (entries) =>
      Object.keys(entries).length > maxProperties ? [{ path: '', message: `must not have more than ${maxProperties} keys` }] : [],
    ),
  };
}
