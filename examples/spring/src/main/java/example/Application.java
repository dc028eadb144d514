package example;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Map;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.MediaType;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** A small Spring Boot application that says where it runs. SERVER_PORT (default 8080) says where it listens. */
@SpringBootApplication
@RestController
public class Application {
    public static void main(String[] arguments) {
        SpringApplication.run(Application.class, arguments);
    }

    @GetMapping(path = "/", produces = MediaType.TEXT_PLAIN_VALUE)
    String index() throws UnknownHostException {
        return "hello from " + InetAddress.getLocalHost().getHostName() + "\n"
            + "kernel     " + System.getProperty("os.version") + "\n"
            + "java       " + System.getProperty("java.version") + "\n"
            + "user       " + System.getProperty("user.name") + "\n";
    }

    @GetMapping("/health")
    Map<String, String> health() {
        return Map.of("status", "ok");
    }
}
