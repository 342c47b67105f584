import { DerReader, TAG, latin1 } from './der.ts';
import { der, derAscii, derOid, derSequence, derSet } from './der-writer.ts';

const OID = {
  commonName: '2.5.4.3',
  serialNumber: '2.5.4.5',
  country: '2.5.4.6',
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  uniqueId: '2.5.4.45',
} as const;

/** The parts of a distinguished name that an SVID's subject may have. */
export interface Subject {
  readonly country?: string;
  readonly organization?: string;
  readonly organizationalUnit?: string;
  readonly commonName?: string;
  readonly serialNumber?: string;
  /** The attribute x500UniqueIdentifier (2.5.4.45), as SPIRE's `uniqueid` composer writes it. */
  readonly uniqueId?: string;
}

// The order in which Go's pkix.Name, and so SPIRE, writes the attributes.
const ORDER = ['country', 'organization', 'organizationalUnit', 'commonName', 'serialNumber', 'uniqueId'] as const;
const ENCODED_OIDS = Object.fromEntries(Object.entries(OID).map(([name, oid]) => [name, derOid(oid)]));
const PRINTABLE = /^[A-Za-z0-9 '()+,./:=?-]*$/;

/** An attribute of a distinguished name. */
export interface NameAttribute {
  /** Dotted object identifier, such as `2.5.4.3`. */
  readonly oid: string;
  /** Undefined for values that are no text. */
  readonly value: string | undefined;
}

/**
 * Reads a Name.
 *
 * @param raw DER
 * @throws IdentityError `invalid_argument`
 */
export function parseName(raw: Uint8Array, field: string): readonly NameAttribute[] {
  const attributes: NameAttribute[] = [];
  const outer = new DerReader(raw, field);
  const name = outer.enter(TAG.sequence);
  outer.finish();
  while (!name.atEnd) {
    const set = name.enter(TAG.set);
    if (set.atEnd) throw name.fault('distinguished name has an empty set');
    while (!set.atEnd) {
      const attribute = set.enter(TAG.sequence);
      const oid = attribute.readOid();
      const tag = attribute.peekTag() ?? 0;
      const value = textOf(tag, attribute.readRaw(), attribute);
      attribute.finish();
      attributes.push({ oid, value });
    }
  }
  return attributes;
}

function textOf(tag: number, raw: Uint8Array, reader: DerReader): string | undefined {
  const content = new DerReader(raw, reader.field).readContent(tag);
  if (tag === TAG.utf8String) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
    } catch (cause) {
      throw Object.assign(reader.fault('distinguished name has text that is not UTF-8'), { cause });
    }
  }
  if (tag !== TAG.printableString && tag !== TAG.ia5String) return undefined;
  if (content.some((byte) => byte >= 0x80)) throw reader.fault('text has a byte beyond ASCII');
  return latin1(content);
}

/** The first common name, if any. */
export function commonNameOf(attributes: readonly NameAttribute[]): string | undefined {
  return attributes.find(({ oid }) => oid === OID.commonName)?.value;
}

/** A Name from its parts, DER, in the order and with the string types that Go writes; empty parts are left out. */
export function encodeName(subject: Subject): Uint8Array {
  const sets = ORDER.flatMap((part) => {
    const text = subject[part];
    const oid = ENCODED_OIDS[part];
    if (text === undefined || text === '' || oid === undefined) return [];
    return [derSet(derSequence(oid, directoryString(text)))];
  });
  return derSequence(...sets);
}

function directoryString(text: string): Uint8Array {
  return PRINTABLE.test(text) ? derAscii(TAG.printableString, text) : der(TAG.utf8String, Buffer.from(text, 'utf8'));
}

/**
 * A Name with its common name replaced, as SPIRE does with the first DNS name; all other attributes stay as they are. RFC 5280
 * gives a Name no order of meaning, so the common name goes last.
 *
 * @param raw the Name, DER
 */
export function withCommonName(raw: Uint8Array, commonName: string, field = 'subject'): Uint8Array {
  const name = new DerReader(raw, field).enter(TAG.sequence);
  const kept: Uint8Array[] = [];
  while (!name.atEnd) {
    const set = name.readRaw(TAG.set);
    const oid = new DerReader(set, field).enter(TAG.set).enter(TAG.sequence).readOid();
    if (oid !== OID.commonName) kept.push(set);
  }
  return derSequence(...kept, derSet(derSequence(derOid(OID.commonName), directoryString(commonName))));
}
