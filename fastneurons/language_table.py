"""The languages that fastneurons knows: the codes, scripts and name of each, and spellings beyond its codes."""

ALIASES = {
    "cz": "cs",  # MzsRE
    "du": "nl",  # MzsRE
    "in": "id",  # withdrawn from ISO 639-1, still written by Java
    "iw": "he",
    "ji": "yi",
    "jw": "jv",
}

# Codes of countries, not of languages; some are the code of no language, and are taken for one.
CONFUSED = {
    "cn": "zh",
    "dk": "da",
    "gb": "en",
    "gr": "el",
    "jp": "ja",
    "mx": "es",
    "sp": "es",
    "ua": "uk",
    "us": "en",
    "vn": "vi",
}

# Short code | ISO 639-3, the language's own first, then members taken for it and ISO 639-2/B | scripts,
# the usual one first | English name. All of ISO 639-1, and the other languages of FLORES-200 and FLORES+.
_TABLE = """
aa | aar | Latn | Afar
ab | abk | Cyrl | Abkhazian
ae | ave | Avst | Avestan
af | afr | Latn | Afrikaans
ak | aka | Latn | Akan
am | amh | Ethi | Amharic
an | arg | Latn | Aragonese
ar | ara arb | Arab Latn | Arabic
as | asm | Beng | Assamese
av | ava | Cyrl | Avaric
ay | aym ayr | Latn | Aymara
az | aze azj | Latn Cyrl Arab | Azerbaijani
ba | bak | Cyrl | Bashkir
be | bel | Cyrl Latn | Belarusian
bg | bul | Cyrl Latn | Bulgarian
bi | bis | Latn | Bislama
bm | bam | Latn | Bambara
bn | ben | Beng Latn | Bengali
bo | bod tib | Tibt | Tibetan
br | bre | Latn | Breton
bs | bos | Latn Cyrl | Bosnian
ca | cat | Latn | Catalan
ce | che | Cyrl | Chechen
ch | cha | Latn | Chamorro
co | cos | Latn | Corsican
cr | cre | Cans Latn | Cree
cs | ces cze | Latn | Czech
cu | chu | Cyrl | Church Slavonic
cv | chv | Cyrl | Chuvash
cy | cym wel | Latn | Welsh
da | dan | Latn | Danish
de | deu ger | Latn | German
dv | div | Thaa | Divehi
dz | dzo | Tibt | Dzongkha
ee | ewe | Latn | Ewe
el | ell gre | Grek Latn | Greek
en | eng | Latn | English
eo | epo | Latn | Esperanto
es | spa | Latn | Spanish
et | est ekk | Latn | Estonian
eu | eus baq | Latn | Basque
fa | fas pes per | Arab Latn | Persian
ff | ful fuv | Latn Adlm | Fula
fi | fin | Latn | Finnish
fj | fij | Latn | Fijian
fo | fao | Latn | Faroese
fr | fra fre | Latn | French
fy | fry | Latn | Frisian
ga | gle | Latn | Irish
gd | gla | Latn | Scottish Gaelic
gl | glg | Latn | Galician
gn | grn gug | Latn | Guarani
gu | guj | Gujr Latn | Gujarati
gv | glv | Latn | Manx
ha | hau | Latn Arab | Hausa
he | heb | Hebr Latn | Hebrew
hi | hin | Deva Latn | Hindi
ho | hmo | Latn | Hiri Motu
hr | hrv | Latn | Croatian
ht | hat | Latn | Haitian Creole
hu | hun | Latn | Hungarian
hy | hye arm | Armn | Armenian
hz | her | Latn | Herero
ia | ina | Latn | Interlingua
id | ind | Latn | Indonesian
ie | ile | Latn | Interlingue
ig | ibo | Latn | Igbo
ii | iii | Yiii | Sichuan Yi
ik | ipk | Latn | Inupiaq
io | ido | Latn | Ido
is | isl ice | Latn | Icelandic
it | ita | Latn | Italian
iu | iku | Cans Latn | Inuktitut
ja | jpn | Jpan Latn | Japanese
jv | jav | Latn | Javanese
ka | kat geo | Geor | Georgian
kg | kon | Latn | Kongo
ki | kik | Latn | Kikuyu
kj | kua | Latn | Kuanyama
kk | kaz | Cyrl Latn Arab | Kazakh
kl | kal | Latn | Greenlandic
km | khm | Khmr | Khmer
kn | kan | Knda Latn | Kannada
ko | kor | Hang Latn | Korean
kr | kau knc | Latn Arab | Kanuri
ks | kas | Arab Deva | Kashmiri
ku | kur kmr | Latn Arab | Kurdish
kv | kom | Cyrl | Komi
kw | cor | Latn | Cornish
ky | kir | Cyrl Latn | Kyrgyz
la | lat | Latn | Latin
lb | ltz | Latn | Luxembourgish
lg | lug | Latn | Ganda
li | lim | Latn | Limburgish
ln | lin | Latn | Lingala
lo | lao | Laoo | Lao
lt | lit | Latn | Lithuanian
lu | lub | Latn | Luba-Katanga
lv | lav lvs | Latn | Latvian
mg | mlg plt | Latn | Malagasy
mh | mah | Latn | Marshallese
mi | mri mao | Latn | Maori
mk | mkd mac | Cyrl | Macedonian
ml | mal | Mlym Latn | Malayalam
mn | mon khk | Cyrl Mong | Mongolian
mr | mar | Deva Latn | Marathi
ms | msa zsm zlm may | Latn Arab | Malay
mt | mlt | Latn | Maltese
my | mya bur | Mymr | Burmese
na | nau | Latn | Nauru
nb | nob | Latn | Norwegian Bokmål
nd | nde | Latn | North Ndebele
ne | nep npi | Deva Latn | Nepali
ng | ndo | Latn | Ndonga
nl | nld dut | Latn | Dutch
nn | nno | Latn | Norwegian Nynorsk
no | nor | Latn | Norwegian
nr | nbl | Latn | South Ndebele
nv | nav | Latn | Navajo
ny | nya | Latn | Chichewa
oc | oci | Latn | Occitan
oj | oji | Cans Latn | Ojibwa
om | orm gaz | Latn | Oromo
or | ori ory | Orya | Odia
os | oss | Cyrl | Ossetic
pa | pan | Guru Arab | Punjabi
pi | pli | Latn | Pali
pl | pol | Latn | Polish
ps | pus pbt | Arab | Pashto
pt | por | Latn | Portuguese
qu | que quy | Latn | Quechua
rm | roh | Latn | Romansh
rn | run | Latn | Kirundi
ro | ron rum | Latn | Romanian
ru | rus | Cyrl Latn | Russian
rw | kin | Latn | Kinyarwanda
sa | san | Deva Latn | Sanskrit
sc | srd | Latn | Sardinian
sd | snd | Arab Deva | Sindhi
se | sme | Latn | Northern Sami
sg | sag | Latn | Sango
si | sin | Sinh | Sinhala
sk | slk slo | Latn | Slovak
sl | slv | Latn | Slovenian
sm | smo | Latn | Samoan
sn | sna | Latn | Shona
so | som | Latn Osma | Somali
sq | sqi als alb | Latn | Albanian
sr | srp | Cyrl Latn | Serbian
ss | ssw | Latn | Swati
st | sot | Latn | Sesotho
su | sun | Latn | Sundanese
sv | swe | Latn | Swedish
sw | swa swh | Latn | Swahili
ta | tam | Taml Latn | Tamil
te | tel | Telu Latn | Telugu
tg | tgk | Cyrl Latn | Tajik
th | tha | Thai Latn | Thai
ti | tir | Ethi | Tigrinya
tk | tuk | Latn Cyrl | Turkmen
tl | tgl fil | Latn | Tagalog
tn | tsn | Latn | Tswana
to | ton | Latn | Tongan
tr | tur | Latn | Turkish
ts | tso | Latn | Tsonga
tt | tat | Cyrl Latn | Tatar
tw | twi | Latn | Twi
ty | tah | Latn | Tahitian
ug | uig | Arab Cyrl Latn | Uyghur
uk | ukr | Cyrl | Ukrainian
ur | urd | Arab Latn | Urdu
uz | uzb uzn | Latn Cyrl | Uzbek
ve | ven | Latn | Venda
vi | vie | Latn Hani | Vietnamese
vo | vol | Latn | Volapük
wa | wln | Latn | Walloon
wo | wol | Latn Arab | Wolof
xh | xho | Latn | Xhosa
yi | yid ydd | Hebr | Yiddish
yo | yor | Latn | Yoruba
za | zha | Latn | Zhuang
zh | zho cmn chi | Hans Hant | Chinese
zu | zul | Latn | Zulu
ace | ace | Latn Arab | Acehnese
acm | acm | Arab | Mesopotamian Arabic
acq | acq | Arab | Ta’izzi-Adeni Arabic
aeb | aeb | Arab | Tunisian Arabic
ajp | ajp | Arab | South Levantine Arabic
apc | apc | Arab | North Levantine Arabic
ars | ars | Arab | Najdi Arabic
ary | ary | Arab | Moroccan Arabic
arz | arz | Arab | Egyptian Arabic
ast | ast | Latn | Asturian
awa | awa | Deva | Awadhi
azb | azb | Arab | South Azerbaijani
ban | ban | Latn | Balinese
bar | bar | Latn | Bavarian
bem | bem | Latn | Bemba
bho | bho | Deva | Bhojpuri
bjn | bjn | Latn Arab | Banjar
brx | brx | Deva | Bodo
bug | bug | Latn | Buginese
ceb | ceb | Latn | Cebuano
cjk | cjk | Latn | Chokwe
ckb | ckb | Arab Latn | Central Kurdish
crh | crh | Latn Cyrl | Crimean Tatar
dgo | dgo | Deva | Dogri
dik | dik | Latn | Southwestern Dinka
dyu | dyu | Latn | Dyula
fon | fon | Latn | Fon
fur | fur | Latn | Friulian
gom | gom | Deva Latn | Goan Konkani
gsw | gsw | Latn | Swiss German
hak | hak | Hans Hant Latn | Hakka Chinese
haw | haw | Latn | Hawaiian
hmn | hmn | Latn | Hmong
hne | hne | Deva | Chhattisgarhi
hsb | hsb | Latn | Upper Sorbian
ilo | ilo | Latn | Ilocano
kab | kab | Latn | Kabyle
kac | kac | Latn | Jingpho
kam | kam | Latn | Kamba
kbp | kbp | Latn | Kabiyè
kea | kea | Latn | Kabuverdianu
kmb | kmb | Latn | Kimbundu
lij | lij | Latn | Ligurian
lld | lld | Latn | Ladin
lmo | lmo | Latn | Lombard
ltg | ltg | Latn | Latgalian
lua | lua | Latn | Luba-Kasai
luo | luo | Latn | Luo
lus | lus | Latn | Mizo
mag | mag | Deva | Magahi
mai | mai | Deva | Maithili
mhr | mhr | Cyrl | Meadow Mari
min | min | Latn Arab | Minangkabau
mni | mni | Beng Mtei Latn | Manipuri
mos | mos | Latn | Mossi
myv | myv | Cyrl | Erzya
nan | nan | Hans Hant Latn | Min Nan Chinese
nds | nds | Latn | Low German
nqo | nqo | Nkoo | N’Ko
nso | nso | Latn | Northern Sotho
nus | nus | Latn | Nuer
pag | pag | Latn | Pangasinan
pap | pap | Latn | Papiamento
prs | prs | Arab | Dari
sah | sah | Cyrl | Yakut
sat | sat | Olck Beng | Santali
scn | scn | Latn | Sicilian
shn | shn | Mymr | Shan
szl | szl | Latn | Silesian
taq | taq | Latn Tfng | Tamasheq
tpi | tpi | Latn | Tok Pisin
tum | tum | Latn | Tumbuka
tyv | tyv | Cyrl | Tuvinian
tzm | tzm | Tfng Latn | Central Atlas Tamazight
umb | umb | Latn | Umbundu
vec | vec | Latn | Venetian
vmw | vmw | Latn | Makhuwa
war | war | Latn | Waray
wuu | wuu | Hans Hant | Wu Chinese
yue | yue | Hant Hans | Cantonese
zgh | zgh | Tfng | Standard Moroccan Tamazight
"""


def table_rows() -> list[tuple[str, list[str], list[str], str]]:
    """Each line of the table: short code, three-letter codes, scripts, name."""
    rows = []
    for line in _TABLE.strip().splitlines():
        code, iso, scripts, name = (field.strip() for field in line.split("|"))
        rows.append((code, iso.split(), scripts.split(), name))
    return rows
