"""The names of one place: French for France, United States for USA, California for CA."""

import re

# A line: the place and its other names, then the adjectives and demonyms. English, lower case.
_PLACES = """
afghanistan: afghan
africa: african
albania: albanian
algeria: algerian
angola: angolan
argentina: argentine argentinian
armenia: armenian
asia: asian
australia: australian aussie
austria: austrian
azerbaijan: azerbaijani
bahrain: bahraini
bangladesh: bangladeshi
belarus: belarusian
belgium: belgian
bolivia: bolivian
bosnia: bosnian
brazil: brazilian
bulgaria: bulgarian
cambodia: cambodian
cameroon: cameroonian
canada: canadian
chile: chilean
china: chinese
colombia: colombian
congo: congolese
costa rica: costa rican
croatia: croatian
cuba: cuban
cyprus: cypriot
czech republic|czechia: czech
denmark: danish dane
dominican republic: dominican
ecuador: ecuadorian
egypt: egyptian
england: english
estonia: estonian
ethiopia: ethiopian
europe: european
finland: finnish finn
france: french
georgia: georgian
germany: german
ghana: ghanaian
greece: greek
guatemala: guatemalan
haiti: haitian
honduras: honduran
hungary: hungarian
iceland: icelandic
india: indian
indonesia: indonesian
iran: iranian persian
iraq: iraqi
ireland: irish
israel: israeli
italy: italian
ivory coast: ivorian
jamaica: jamaican
japan: japanese
jordan: jordanian
kazakhstan: kazakh
kenya: kenyan
korea|south korea|republic of korea: korean
kuwait: kuwaiti
laos: laotian
latvia: latvian
lebanon: lebanese
libya: libyan
lithuania: lithuanian
luxembourg: luxembourgish
malaysia: malaysian
mali: malian
malta: maltese
mexico: mexican
mongolia: mongolian
montenegro: montenegrin
morocco: moroccan
myanmar|burma: burmese
nepal: nepalese nepali
netherlands|the netherlands|holland: dutch
new zealand: kiwi
nicaragua: nicaraguan
nigeria: nigerian
north america: north american
north korea: north korean
norway: norwegian
pakistan: pakistani
palestine: palestinian
panama: panamanian
paraguay: paraguayan
peru: peruvian
philippines|the philippines: filipino philippine
poland: polish
portugal: portuguese
puerto rico: puerto rican
qatar: qatari
romania: romanian
russia|russian federation: russian
rwanda: rwandan
saudi arabia: saudi
scotland: scottish
senegal: senegalese
serbia: serbian
singapore: singaporean
slovakia: slovak slovakian
slovenia: slovenian slovene
somalia: somali
south africa: south african
south america: south american
spain: spanish spaniard
sri lanka: sri lankan
sudan: sudanese
sweden: swedish swede
switzerland: swiss
syria: syrian
taiwan: taiwanese
tanzania: tanzanian
thailand: thai
tunisia: tunisian
turkey: turkish
uganda: ugandan
ukraine: ukrainian
united arab emirates|uae: emirati
united kingdom|uk|great britain|britain: british briton
united states|united states of america|usa|us|america: american
uruguay: uruguayan
uzbekistan: uzbek
venezuela: venezuelan
vietnam: vietnamese
wales: welsh
yemen: yemeni
zambia: zambian
zimbabwe: zimbabwean
"""

# A state of the United States and its code. Codes are words too: a question's are not read.
_STATES = """
alabama al; alaska ak; arizona az; arkansas ar; california ca
colorado co; connecticut ct; delaware de; florida fl; georgia ga
hawaii hi; idaho id; illinois il; indiana in; iowa ia
kansas ks; kentucky ky; louisiana la; maine me; maryland md
massachusetts ma; michigan mi; minnesota mn; mississippi ms; missouri mo
montana mt; nebraska ne; nevada nv; new hampshire nh; new jersey nj
new mexico nm; new york ny; north carolina nc; north dakota nd; ohio oh
oklahoma ok; oregon or; pennsylvania pa; rhode island ri; south carolina sc
south dakota sd; tennessee tn; texas tx; utah ut; vermont vt
virginia va; washington wa; west virginia wv; wisconsin wi; wyoming wy
"""


def _groups() -> list[frozenset[tuple[str, ...]]]:
    groups = []
    for line in _PLACES.split("\n"):
        places, _, adjectives = line.partition(":")
        if not adjectives:
            continue
        # An adjective of two words begins as its place does ("south african").
        first = places.split()[0] if " " in places.split("|")[0] else ""
        words = adjectives.split()
        if first and words[0] == first:
            words = [adjectives.strip()]
        names = [*places.split("|"), *words]
        groups.append(frozenset(tuple(name.split()) for name in names))
    return groups


# The names of each place, each as its words: what a question calls it, and what a database may.
_OTHER_NAMES: dict[tuple[str, ...], frozenset[tuple[str, ...]]] = {
    name: group for group in _groups() for name in group
}
for _state in _STATES.replace("\n", ";").split(";"):
    if _state.strip():
        *_name, _code = _state.split()
        _OTHER_NAMES[*_name,] = _OTHER_NAMES.get((*_name,), frozenset()) | {(_code,)}
# Words of other meaning where they have no capital letters.
_CAPITALS = {("us",): "US", ("turkey",): "Turkey", ("polish",): "Polish", ("finn",): "Finn"}


def other_names(words: tuple[str, ...], question: str) -> frozenset[tuple[str, ...]]:
    """What else the place is called that a span of a question names; nothing for other spans.

    Args:
      words: the span, in lower case.
      question: as it is written.
    """
    if words in _CAPITALS and not re.search(rf"\b{_CAPITALS[words]}\b", question):
        return frozenset()
    return _OTHER_NAMES.get(words, frozenset()) - {words}
