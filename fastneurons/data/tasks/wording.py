"""Words that several tasks' templates share, in each language: with colon, as its typography has it."""

from typing import NamedTuple


class Words(NamedTuple):
    """Labels of the parts of a prompt. `answer` ends the prompt: no space follows it."""

    question: str
    answer: str
    passage: str


WORDS = {
    "af": Words("Vraag: ", "Antwoord:", "Teks: "),
    "ar": Words("السؤال: ", "الجواب:", "النص: "),
    "az": Words("Sual: ", "Cavab:", "Mətn: "),
    "bg": Words("Въпрос: ", "Отговор:", "Текст: "),
    "bn": Words("প্রশ্ন: ", "উত্তর:", "অনুচ্ছেদ: "),
    "ca": Words("Pregunta: ", "Resposta:", "Text: "),
    "cs": Words("Otázka: ", "Odpověď:", "Text: "),
    "da": Words("Spørgsmål: ", "Svar:", "Tekst: "),
    "de": Words("Frage: ", "Antwort:", "Text: "),
    "el": Words("Ερώτηση: ", "Απάντηση:", "Κείμενο: "),
    "en": Words("Question: ", "Answer:", "Text: "),
    "es": Words("Pregunta: ", "Respuesta:", "Texto: "),
    "et": Words("Küsimus: ", "Vastus:", "Tekst: "),
    "eu": Words("Galdera: ", "Erantzuna:", "Testua: "),
    "fa": Words("پرسش: ", "پاسخ:", "متن: "),
    "fi": Words("Kysymys: ", "Vastaus:", "Teksti: "),
    "fr": Words("Question : ", "Réponse :", "Texte : "),
    "gl": Words("Pregunta: ", "Resposta:", "Texto: "),
    "gu": Words("પ્રશ્ન: ", "જવાબ:", "ફકરો: "),
    "he": Words("שאלה: ", "תשובה:", "טקסט: "),
    "hi": Words("प्रश्न: ", "उत्तर:", "गद्यांश: "),
    "hr": Words("Pitanje: ", "Odgovor:", "Tekst: "),
    "ht": Words("Kesyon: ", "Repons:", "Tèks: "),
    "hu": Words("Kérdés: ", "Válasz:", "Szöveg: "),
    "hy": Words("Հարց: ", "Պատասխան:", "Տեքստ: "),
    "id": Words("Pertanyaan: ", "Jawaban:", "Teks: "),
    "is": Words("Spurning: ", "Svar:", "Texti: "),
    "it": Words("Domanda: ", "Risposta:", "Testo: "),
    "ja": Words("質問：", "答え：", "文章："),
    "ka": Words("კითხვა: ", "პასუხი:", "ტექსტი: "),
    "kk": Words("Сұрақ: ", "Жауап:", "Мәтін: "),
    "kn": Words("ಪ್ರಶ್ನೆ: ", "ಉತ್ತರ:", "ಪಠ್ಯ: "),
    "ko": Words("질문: ", "답:", "지문: "),
    "lt": Words("Klausimas: ", "Atsakymas:", "Tekstas: "),
    "lv": Words("Jautājums: ", "Atbilde:", "Teksts: "),
    "mk": Words("Прашање: ", "Одговор:", "Текст: "),
    "ml": Words("ചോദ്യം: ", "ഉത്തരം:", "ഖണ്ഡിക: "),
    "mr": Words("प्रश्न: ", "उत्तर:", "उतारा: "),
    "ms": Words("Soalan: ", "Jawapan:", "Teks: "),
    "nb": Words("Spørsmål: ", "Svar:", "Tekst: "),
    "ne": Words("प्रश्न: ", "उत्तर:", "अनुच्छेद: "),
    "nl": Words("Vraag: ", "Antwoord:", "Tekst: "),
    "no": Words("Spørsmål: ", "Svar:", "Tekst: "),
    "pl": Words("Pytanie: ", "Odpowiedź:", "Tekst: "),
    "pt": Words("Pergunta: ", "Resposta:", "Texto: "),
    "ro": Words("Întrebare: ", "Răspuns:", "Text: "),
    "ru": Words("Вопрос: ", "Ответ:", "Текст: "),
    "sk": Words("Otázka: ", "Odpoveď:", "Text: "),
    "sl": Words("Vprašanje: ", "Odgovor:", "Besedilo: "),
    "sq": Words("Pyetja: ", "Përgjigjja:", "Teksti: "),
    "sr": Words("Питање: ", "Одговор:", "Текст: "),
    "sv": Words("Fråga: ", "Svar:", "Text: "),
    "sw": Words("Swali: ", "Jibu:", "Kifungu: "),
    "ta": Words("கேள்வி: ", "பதில்:", "பத்தி: "),
    "te": Words("ప్రశ్న: ", "సమాధానం:", "పేరా: "),
    "th": Words("คำถาม: ", "คำตอบ:", "ข้อความ: "),
    "tl": Words("Tanong: ", "Sagot:", "Teksto: "),
    "tr": Words("Soru: ", "Cevap:", "Metin: "),
    "uk": Words("Питання: ", "Відповідь:", "Текст: "),
    "ur": Words("سوال: ", "جواب:", "متن: "),
    "uz": Words("Savol: ", "Javob:", "Matn: "),
    "vi": Words("Câu hỏi: ", "Trả lời:", "Đoạn văn: "),
    "zh": Words("问题：", "答案：", "文章："),
    "zh-Hant": Words("問題：", "答案：", "文章："),
}
