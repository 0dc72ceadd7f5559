"""Which words find which texts."""

import unicodedata

import pytest
from qdrant_edge import Bm25, Bm25Config

from soma_schemas.languages import Language
from soma_schemas.vectors.bm25 import Bm25Encoder

_ENCODERS = {language: Bm25Encoder(language) for language in Language}
_ENCODER = _ENCODERS[Language.ENGLISH]


def _finds(query: str, text: str, language: Language = Language.ENGLISH) -> bool:
    encoder = _ENCODERS[language]
    asked, held = encoder.query(query), encoder.document(text)
    return asked is not None and held is not None and not set(asked.indices).isdisjoint(held.indices)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("私は東京都に住んでいます。", "東京"),
        ("私は東京都に住んでいます。", "東京都"),
        ("私は東京都に住んでいます。", "都"),
        ("私は東京都に住んでいます。", "住んで"),
        ("会議はカフェテリアで", "カフェ"),
        ("会議はｶﾌｪﾃﾘｱで", "カフェ"),
        ("人々が集まる", "人々"),
        ("か\u3099くせい", "がく"),
        ("我在北京大学学习计算机科学", "计算机"),
        ("我在北京大学学习计算机科学", "学"),
        ("𠮷野家で昼食", "𠮷野"),
        ("서울에서 한국어를 배웁니다", "한국어"),
        ("서울에서 한국어를 배웁니다", "서울"),
        ("ฉันอาศัยอยู่ที่กรุงเทพมหานคร", "กรุงเทพ"),
        ("ฉันอาศัยอยู่ที่กรุงเทพมหานคร", "มหานคร"),
        ("ຂ້ອຍອາໄສຢູ່ນະຄອນຫຼວງວຽງຈັນ", "ວຽງຈັນ"),
        ("ខ្ញុំរស់នៅរាជធានីភ្នំពេញ", "ភ្នំពេញ"),
        ("ကျွန်တော်ရန်ကုန်မြို့မှာနေတယ်", "ရန်ကုန်"),
        ("新しいAI技術とPython3の本", "AI"),
        ("新しいAI技術とPython3の本", "技術"),
        ("新しいAI技術とPython3の本", "AI技術"),
        ("会议 on Friday about 预算报告", "预算 Friday"),
        ("北京大学2024年", "2024"),
    ],
)
def test_a_part_of_what_is_written_together_finds_it(text: str, part: str) -> None:
    assert _finds(part, text)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("私は東京都に住んでいます。", "大阪"),
        ("我在北京大学学习", "上海"),
        ("我在北京大学学习", "海"),
        ("京の東", "東京"),
        ("서울에서 한국어를 배웁니다", "부산"),
        ("ฉันอาศัยอยู่ที่กรุงเทพมหานคร", "เชียงใหม่"),
        ("新しいAI技術", "Python"),
    ],
)
def test_what_is_not_a_part_of_it_does_not(text: str, other: str) -> None:
    assert not _finds(other, text)


def test_more_of_a_run_in_common_scores_higher() -> None:
    asked = _ENCODER.query("東京都")
    whole, half = _ENCODER.document("東京都の天気"), _ENCODER.document("京都の天気だ")

    assert asked is not None
    assert whole is not None
    assert half is not None
    assert len(set(asked.indices) & set(whole.indices)) > len(set(asked.indices) & set(half.indices)) > 0


@pytest.mark.parametrize(
    "text",
    [
        "The meetings were moved to Friday, 12:30; e-mail ada@example.org",
        "Füße, café, naïve, Ærøskøbing, smörgåsbord — über",
        "Встреча перенесена на пятницу",
        "συνάντηση μεταφέρθηκε",
        "הפגישה הועברה ליום שישי",
        "تم نقل الاجتماع إلى يوم الجمعة",
        "बैठक शुक्रवार को है",
        "বৈঠক শুক্রবার",
        "ስብሰባው አርብ ነው",
        "½ ﬁ Ⅷ ① 😀",
    ],
)
def test_scripts_with_spaces_are_left_to_the_tokenizer(text: str) -> None:
    plain = Bm25(Bm25Config(k=1.2, b=0.75, avg_len=256.0, language="english", ascii_folding=True))
    document, query = _ENCODER.document(text), _ENCODER.query(text)
    expected_document, expected_query = plain.embed_document(text), plain.embed_query(text)

    assert [*(document.indices if document else ())] == expected_document.indices
    assert [*(document.values if document else ())] == expected_document.values
    assert [*(query.indices if query else ())] == expected_query.indices


# A form of a word, another form, and words that are in every text.
_FORMS = {
    Language.ARABIC: ("كتاب", "الكتاب", "في من على"),
    Language.DANISH: ("dør", "døren", "på også ikke"),
    Language.DUTCH: ("vergadering", "vergaderingen", "het van een"),
    Language.ENGLISH: ("meeting", "meetings", "the of and"),
    Language.FINNISH: ("kylä", "kylässä", "että mitä on"),
    Language.FRENCH: ("réunion", "réunions", "à été même où"),
    Language.GERMAN: ("Haus", "Häusern", "für über könnte"),
    Language.GREEK: ("βιβλίου", "βιβλία", "και το"),
    Language.HUNGARIAN: ("ház", "házban", "és már egy"),
    Language.ITALIAN: ("riunione", "riunioni", "più perché è"),
    Language.NORWEGIAN: ("møte", "møter", "på også ikke"),
    Language.PORTUGUESE: ("gato", "gatos", "não é à"),
    Language.ROMANIAN: ("întâlnire", "întâlnirea", "și în este"),
    Language.RUSSIAN: ("книга", "книги", "и в не на"),
    Language.SPANISH: ("reunión", "reuniones", "él más también qué"),
    Language.SWEDISH: ("båt", "båtarna", "är på från"),
    Language.TURKISH: ("çiçek", "çiçekler", "çok için"),
}


def test_a_word_finds_its_other_forms_in_the_language_alone() -> None:
    found = {language: _finds(one, other, language) for language, (one, other, _) in _FORMS.items()}
    without = [_finds(one, other, Language.NONE) for one, other, _ in _FORMS.values()]

    assert found == dict.fromkeys(set(Language) - {Language.NONE}, True)
    assert set(without) == {False}


@pytest.mark.parametrize("language", list(_FORMS))
def test_words_that_are_in_every_text_are_left_out_with_their_accents(language: Language) -> None:
    words = _FORMS[language][2]

    assert _ENCODERS[language].query(words) is None
    assert _ENCODERS[language].document(words) is None
    assert _ENCODERS[Language.NONE].query(words) is not None


def test_without_a_language_every_word_counts_as_it_stands() -> None:
    assert _finds("the", "The meetings", Language.NONE)
    assert _finds("Café", "cafe", Language.NONE)
    assert not _finds("meeting", "meetings", Language.NONE)


@pytest.mark.parametrize("language", list(Language))
def test_composed_and_decomposed_letters_are_alike(language: Language) -> None:
    encoder = _ENCODERS[language]
    for text in ("Häuser, für über", "réunions", "хороший", "दी", "がくせい", "서울에서"):
        apart = unicodedata.normalize("NFD", text)
        one, other = encoder.document(text), encoder.document(apart)
        asked = encoder.query(apart)

        assert one is not None
        assert other is not None
        assert asked is not None
        assert dict(zip(one.indices, one.values, strict=True)) == dict(
            zip(other.indices, other.values, strict=True)
        )
        assert set(asked.indices) <= set(one.indices)
